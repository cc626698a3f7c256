package app;

import java.util.EnumSet;
import javax.servlet.DispatcherType;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.server.ServerConnector;
import org.eclipse.jetty.servlet.ErrorPageErrorHandler;
import org.eclipse.jetty.servlet.FilterHolder;
import org.eclipse.jetty.servlet.ServletContextHandler;
import org.eclipse.jetty.servlet.ServletHolder;
import org.eclipse.jetty.util.thread.QueuedThreadPool;

/** Jetty with the filter before an application's servlets. */
final class JettyMain {
    public static void main(String[] given) throws Exception {
        var server = new Server(new QueuedThreadPool(32));
        var connector = new ServerConnector(server);
        connector.setHost("127.0.0.1");
        connector.setPort(Integer.parseInt(given[1]));
        server.addConnector(connector);
        var context = new ServletContextHandler();
        var filter = new FilterHolder(new authz.front.javax.AuthzFilter());
        filter.setAsyncSupported(true);
        filter.setInitParameter("settings", given[0]);
        context.addFilter(filter, "/*", EnumSet.allOf(DispatcherType.class));
        App.servlets(given[2]).forEach((pattern, servlet) -> {
            var holder = new ServletHolder(servlet);
            holder.setAsyncSupported(true);
            context.addServlet(holder, pattern);
        });
        var errors = new ErrorPageErrorHandler();
        errors.addErrorPage(400, 599, App.ERROR_PAGE);
        context.setErrorHandler(errors);
        server.setHandler(context);
        server.start();
    }
}
