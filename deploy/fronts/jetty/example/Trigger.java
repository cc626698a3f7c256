package example;

import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.time.Duration;
import java.util.regex.Pattern;
import javax.servlet.AsyncContext;
import javax.servlet.http.HttpServlet;
import javax.servlet.http.HttpServletRequest;
import javax.servlet.http.HttpServletResponse;

/**
 * An endpoint of an application's own, behind the filter: {@code POST /trigger/DAG} starts a run at Airflow, as the caller.
 *
 * <p>It passes the assertion on, so Airflow records the person and decides once more; it knows the caller by {@code getRemoteUser}.
 */
public final class Trigger extends HttpServlet {
    private static final Pattern DAG = Pattern.compile("/[A-Za-z0-9_-][A-Za-z0-9_.-]{0,199}");

    private final HttpClient client = HttpClient.newBuilder()
            .version(HttpClient.Version.HTTP_1_1)
            .connectTimeout(Duration.ofSeconds(2))
            .proxy(HttpClient.Builder.NO_PROXY)
            .build();
    private final String airflow;

    public Trigger(String airflow) {
        this.airflow = airflow;
    }

    @Override
    protected void doPost(HttpServletRequest request, HttpServletResponse response) throws IOException {
        String dag = request.getPathInfo();
        String assertion = request.getHeader("x-authz-assertion");
        if (dag == null || assertion == null || !DAG.matcher(dag).matches()) {
            response.setStatus(404);
            return;
        }
        log(request.getRemoteUser() + " starts " + dag.substring(1) + ", decision " + request.getHeader("x-authz-decision"));
        HttpRequest run = HttpRequest.newBuilder(URI.create(airflow + "/api/v2/dags" + dag + "/dagRuns"))
                .timeout(Duration.ofSeconds(20))
                .header("X-Authz-Assertion", assertion)
                .header("Content-Type", "application/json")
                .POST(BodyPublishers.ofString("{\"logical_date\": null}"))
                .build();
        AsyncContext waiting = request.startAsync(); // no thread waits for Airflow
        waiting.setTimeout(0);
        client.sendAsync(run, BodyHandlers.ofByteArray()).whenComplete((said, failure) -> {
            try {
                response.setStatus(failure == null ? said.statusCode() : 503);
                if (failure == null) {
                    response.setContentType("application/json");
                    response.getOutputStream().write(said.body());
                }
            } catch (IOException gone) {
                // the caller is away
            } finally {
                waiting.complete();
            }
        });
    }
}
