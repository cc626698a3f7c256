package app;

import java.io.IOException;
import java.util.Arrays;
import java.util.Collections;
import java.util.Map;
import java.util.TreeMap;
import javax.servlet.ServletException;
import javax.servlet.http.HttpServlet;
import javax.servlet.http.HttpServletRequest;
import javax.servlet.http.HttpServletResponse;

/** The servlets of an application behind the filter, for tests: each says which it is, and all that it can read of its caller. */
final class App {
    static final String ERROR_PAGE = "/error";

    private App() {}

    static Map<String, HttpServlet> servlets(String airflow) {
        var found = new TreeMap<String, HttpServlet>();
        found.put("/*", new Says("root"));
        found.put("/api/v2/pools/*", new Says("pools"));
        found.put(ERROR_PAGE, new Says("error"));
        found.put("/inner", new Says("inner"));
        found.put("/go/*", new Goes());
        found.put("/trigger/*", new example.Trigger(airflow));
        return found;
    }

    /** What the request says of its caller, one line each. */
    private static final class Says extends HttpServlet {
        private final String name;

        Says(String name) {
            this.name = name;
        }

        @Override
        protected void service(HttpServletRequest request, HttpServletResponse response) throws IOException {
            var text = new StringBuilder();
            line(text, "served", name);
            line(text, "type", request.getDispatcherType());
            line(text, "method", request.getMethod());
            line(text, "path", request.getServletPath() + (request.getPathInfo() == null ? "" : request.getPathInfo()));
            line(text, "uri", request.getRequestURI());
            line(text, "query", request.getQueryString());
            line(text, "user", request.getRemoteUser());
            line(text, "principal", request.getUserPrincipal() == null ? null : request.getUserPrincipal().getName());
            line(text, "op", request.isUserInRole("op"));
            line(text, "auth", request.getAuthType());
            line(text, "cookies", request.getCookies() == null ? null : Arrays.toString(request.getCookies()));
            line(text, "trailers", request.getTrailerFields());
            line(text, "int", request.getIntHeader("X-Number"));
            line(text, "date", request.getDateHeader("Authorization"));
            for (String each : Collections.list(request.getHeaderNames())) {
                line(text, "named " + each, String.join("|", Collections.list(request.getHeaders(each))));
            }
            for (String each : new String[] {"authorization", "Cookie", "X_Authz_User", "X-Authz-User", "x-run-proof", "X-Remote-User"}) {
                line(text, "single " + each, request.getHeader(each));
                line(text, "all " + each, String.join("|", Collections.list(request.getHeaders(each))));
            }
            response.setContentType("text/plain");
            response.setHeader("X-Served", name);
            response.getOutputStream().write(text.toString().getBytes("UTF-8"));
        }

        private static void line(StringBuilder text, String key, Object value) {
            text.append(key).append('=').append(value).append('\n');
        }
    }

    /** Goes on to another servlet in every way that there is. */
    private static final class Goes extends HttpServlet {
        @Override
        protected void service(HttpServletRequest request, HttpServletResponse response) throws IOException, ServletException {
            switch (request.getPathInfo()) {
                case "/forward" -> request.getRequestDispatcher("/inner").forward(request, response);
                case "/include" -> request.getRequestDispatcher("/inner").include(request, response);
                case "/async" -> request.startAsync().dispatch("/inner");
                case "/bare" -> request.startAsync(request, response).dispatch("/inner");
                case "/error" -> response.sendError(418);
                default -> throw new ServletException("thrown");
            }
        }
    }
}
