package authz.front.javax;

import authz.front.Answer;
import authz.front.Gate;
import authz.front.Question;
import authz.front.Settings;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Collections;
import java.util.List;
import javax.servlet.AsyncContext;
import javax.servlet.DispatcherType;
import javax.servlet.Filter;
import javax.servlet.FilterChain;
import javax.servlet.FilterConfig;
import javax.servlet.ServletException;
import javax.servlet.ServletRequest;
import javax.servlet.ServletResponse;
import javax.servlet.http.HttpServletRequest;
import javax.servlet.http.HttpServletResponse;

/**
 * Asks the gate about each request before the application sees it. {@code build} makes the same of {@code jakarta.servlet}.
 *
 * <p>Law: asked once, before anything else; the thread is given back while the gate thinks; without an allow of this filter's own gate
 * nothing behind it is called, in any dispatch. Init parameter {@code settings}: the file that {@code authz front jetty} renders.
 * Map it first, to {@code /*}, for all five dispatcher types, with {@code async-supported}.
 */
public final class AuthzFilter implements Filter {
    private static final String DECISION = "x-authz-decision";

    private Gate gate;

    @Override
    public void init(FilterConfig config) throws ServletException {
        String file = config.getInitParameter("settings");
        if (file == null) {
            throw new ServletException("the filter's init parameter `settings` is missing: the file that `authz front jetty` renders");
        }
        try {
            gate = new Gate(new Settings(Path.of(file)));
        } catch (IOException | RuntimeException failure) {
            throw new ServletException(failure.toString(), failure);
        }
    }

    @Override
    public void destroy() {
        gate.close();
    }

    @Override
    public void doFilter(ServletRequest asked, ServletResponse given, FilterChain chain) throws IOException, ServletException {
        if (!(asked instanceof HttpServletRequest request) || !(given instanceof HttpServletResponse response)) {
            throw new ServletException("not a request over HTTP");
        }
        if (request.getAttribute(Answer.ATTRIBUTE) instanceof Answer answer && answer.isOf(gate)) {
            if (!answer.isAllow()) {
                say(answer, response);
                return;
            }
            if (!response.isCommitted()) {
                response.setHeader(DECISION, answer.decision());
            }
            chain.doFilter(new AuthorizedRequest(request, response, answer), response);
            return;
        }
        if (request.getDispatcherType() == DispatcherType.ERROR) {
            return; // the server refused it before it was asked about: its status stands, no page of the application's
        }
        if (request.getDispatcherType() != DispatcherType.REQUEST && request.getDispatcherType() != DispatcherType.ASYNC) {
            throw new ServletException("forwarded before it was asked about: map the filter first, and for REQUEST");
        }
        ask(request);
    }

    private void ask(HttpServletRequest request) {
        var question = question(request);
        AsyncContext waiting = request.startAsync(); // of the server's own request and response
        waiting.setTimeout(0); // each question has its deadline
        gate.ask(question, request.getServerName()).thenAccept(answer -> {
            request.setAttribute(Answer.ATTRIBUTE, answer);
            waiting.dispatch();
        }).exceptionally(ended -> null); // the server stops, or has ended the request
    }

    private static Question question(HttpServletRequest request) {
        String query = request.getQueryString();
        return new Question(
                request.getMethod(),
                request.getRequestURI() + (query == null ? "" : "?" + query),
                lines(request, "Host"),
                lines(request, "Authorization"),
                lines(request, "Accept"),
                lines(request, "traceparent"),
                request.getRemoteAddr());
    }

    private static List<String> lines(HttpServletRequest request, String name) {
        return Collections.list(request.getHeaders(name));
    }

    private static void say(Answer answer, HttpServletResponse response) throws IOException {
        response.setStatus(answer.status());
        answer.headers().forEach((name, values) -> values.forEach(value -> response.addHeader(name, value)));
        response.setContentLength(answer.body().length);
        response.getOutputStream().write(answer.body());
    }
}
