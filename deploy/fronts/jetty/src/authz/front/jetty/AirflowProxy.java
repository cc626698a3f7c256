package authz.front.jetty;

import authz.front.Answer;
import authz.front.Settings;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.UnknownHostException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Collections;
import java.util.List;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.TimeUnit;
import javax.servlet.ServletException;
import javax.servlet.http.HttpServletRequest;
import javax.servlet.http.HttpServletResponse;
import org.eclipse.jetty.client.HttpClient;
import org.eclipse.jetty.client.api.Request;
import org.eclipse.jetty.client.api.Response;
import org.eclipse.jetty.client.http.HttpClientTransportOverHTTP;
import org.eclipse.jetty.http.HttpVersion;
import org.eclipse.jetty.proxy.AsyncProxyServlet;
import org.eclipse.jetty.util.ssl.SslContextFactory;

/**
 * Forwards what the filter before it allowed to Airflow: Jetty's asynchronous proxy, with the target that was asked about.
 *
 * <p>Law: without the filter's allow nothing is forwarded. The target's bytes are those of the question: Jetty's own {@code Transparent}
 * resolves dot segments and drops empty ones. Airflow gets the identity headers of the answer and the headers of an allow list.
 * Init parameter {@code settings}: the file that {@code authz front jetty} renders.
 */
public final class AirflowProxy extends AsyncProxyServlet {
    static final String REQUEST_ID = "authz.front.RequestId";

    private static final int SELECTORS = 1;
    private static final long CONNECT_MS = 2_000;

    private URI airflow;
    private String address;
    private Path authority;
    private List<String> identity;
    private List<String> passed;
    private Set<String> hidden;
    private int requestBytes;
    private long silenceMs;
    private long unusedMs;

    @Override
    public void init() throws ServletException {
        try {
            var settings = new Settings(Path.of(getInitParameter("settings")));
            URI at = settings.addresses("airflow").get(0);
            String name = settings.text("airflow_name");
            address = at.getHost();
            airflow = name.isEmpty() ? at : URI.create("https://" + name + ":" + at.getPort());
            authority = name.isEmpty() ? null : Path.of(settings.text("airflow_ca"));
            identity = List.copyOf(settings.names("set"));
            passed = settings.words("passed");
            hidden = settings.names("hidden");
            requestBytes = settings.number("request_bytes");
            silenceMs = settings.time("idle_ms").toMillis();
            unusedMs = settings.time("airflow_idle_ms").toMillis();
        } catch (IOException | RuntimeException failure) {
            throw new ServletException(failure.toString(), failure);
        }
        super.init();
        setTimeout(0); // a stream has no end; silence ends it
    }

    @Override
    protected HttpClient newHttpClient() {
        var tls = new SslContextFactory.Client();
        if (authority != null) {
            tls.setTrustStore(Pem.authorities(authority));
        }
        var client = new HttpClient(new HttpClientTransportOverHTTP(SELECTORS), tls);
        client.setConnectTimeout(CONNECT_MS);
        client.setIdleTimeout(unusedMs); // Airflow closes later: we must be first
        client.setUserAgentField(null);
        client.setRequestBufferSize(256 * 1024); // a head with all roles, and a long target
        client.setSocketAddressResolver((host, port, found) -> {
            try { // at its address, by the name that its certificate must have
                byte[] at = InetAddress.getByName(address).getAddress();
                found.succeeded(List.of(new InetSocketAddress(InetAddress.getByAddress(host, at), port)));
            } catch (UnknownHostException failure) {
                found.failed(failure);
            }
        });
        return client;
    }

    @Override
    protected void service(HttpServletRequest request, HttpServletResponse response) throws ServletException, IOException {
        if (request.getContentLengthLong() > requestBytes) {
            say(response, 413, "body_too_large");
            return;
        }
        super.service(request, response);
    }

    @Override
    protected String rewriteTarget(HttpServletRequest request) {
        boolean allowed = request.getAttribute(Answer.ATTRIBUTE) instanceof Answer answer && answer.isAllow();
        return allowed ? airflow + ((Answer) request.getAttribute(Answer.ATTRIBUTE)).question().target() : null; // null: refused
    }

    @Override
    protected Request newProxyRequest(HttpServletRequest request, String target) {
        return super.newProxyRequest(request, target).version(HttpVersion.HTTP_1_1).idleTimeout(silenceMs, TimeUnit.MILLISECONDS);
    }

    @Override
    protected void copyRequestHeaders(HttpServletRequest request, Request proxied) {
        // Not what Jetty copies: it drops all that the caller's Connection names, and passes on whatever it does not know.
        proxied.header("Host", request.getHeader("Host"));
        for (String name : identity) {
            proxied.header(name, request.getHeader(name)); // null: none
        }
        for (String name : passed) {
            for (String value : Collections.list(request.getHeaders(name))) {
                proxied.header(name, value);
            }
        }
        if (request.getHeader("Transfer-Encoding") == null && hasContent(request)) {
            proxied.header("Content-Length", Long.toString(request.getContentLengthLong()));
        }
        String id = UUID.randomUUID().toString();
        request.setAttribute(REQUEST_ID, id);
        proxied.header("X-Request-Id", id);
        proxied.header("X-Forwarded-For", request.getRemoteAddr());
        proxied.header("X-Forwarded-Proto", "https");
    }

    @Override
    protected void addProxyHeaders(HttpServletRequest request, Request proxied) {
        // said above
    }

    @Override
    protected boolean hasContent(HttpServletRequest request) {
        return request.getContentLengthLong() > 0 || request.getHeader("Transfer-Encoding") != null;
    }

    @Override
    protected boolean expects100Continue(HttpServletRequest request) {
        return false; // Jetty answers it when the body is read; Airflow does not get it
    }

    @Override
    protected String filterServerResponseHeader(HttpServletRequest request, Response said, String name, String value) {
        return hidden.contains(name.toLowerCase(java.util.Locale.ROOT)) ? null : value;
    }

    @Override
    protected void onProxyResponseFailure(HttpServletRequest request, HttpServletResponse response, Response said, Throwable failure) {
        Throwable cause = failure;
        while (cause.getCause() != null) {
            cause = cause.getCause();
        }
        // Not its message: it may have the target, and a token may be in the query.
        _log.warn("Airflow did not answer: {}, {}", failure.getClass().getSimpleName(), cause.getClass().getSimpleName());
        super.onProxyResponseFailure(request, response, said, failure);
    }

    @Override
    protected void sendProxyResponseError(HttpServletRequest request, HttpServletResponse response, int status) {
        try {
            if (response.isCommitted()) {
                response.sendError(-1); // cut: the caller must not take it for a whole answer
            } else {
                say(response, status == 413 ? 413 : 503, status == 413 ? "body_too_large" : "airflow_unavailable");
            }
        } catch (IOException gone) {
            // the caller is away
        } finally {
            if (request.isAsyncStarted()) {
                request.getAsyncContext().complete();
            }
        }
    }

    private static void say(HttpServletResponse response, int status, String error) throws IOException {
        byte[] body = ("{\"error\":\"" + error + "\"}").getBytes(StandardCharsets.UTF_8);
        String decision = response.getHeader("x-authz-decision");
        response.reset();
        response.setStatus(status);
        if (decision != null) {
            response.setHeader("x-authz-decision", decision);
        }
        response.setContentType("application/json");
        response.setHeader("Cache-Control", "no-store");
        response.setHeader("Connection", "close"); // a part of a body may be on its way
        response.setContentLength(body.length);
        response.getOutputStream().write(body);
    }
}
