package app;

import java.io.File;
import org.apache.catalina.Context;
import org.apache.catalina.startup.Tomcat;
import org.apache.tomcat.util.descriptor.web.ErrorPage;
import org.apache.tomcat.util.descriptor.web.FilterDef;
import org.apache.tomcat.util.descriptor.web.FilterMap;

/** Tomcat with the filter before an application's servlets. */
final class TomcatMain {
    public static void main(String[] given) throws Exception {
        var tomcat = new Tomcat();
        tomcat.setBaseDir(new File("tomcat").getAbsolutePath());
        tomcat.setHostname("127.0.0.1");
        tomcat.setPort(Integer.parseInt(given[1]));
        tomcat.getConnector().setProperty("address", "127.0.0.1");
        tomcat.getConnector().setProperty("maxThreads", "32");
        Context context = tomcat.addContext("", null);
        var filter = new FilterDef();
        filter.setFilterName("authz");
        filter.setFilterClass("authz.front.jakarta.AuthzFilter");
        filter.setAsyncSupported("true");
        filter.addInitParameter("settings", given[0]);
        context.addFilterDef(filter);
        var map = new FilterMap();
        map.setFilterName("authz");
        map.addURLPattern("/*");
        for (String type : new String[] {"REQUEST", "ASYNC", "FORWARD", "INCLUDE", "ERROR"}) {
            map.setDispatcher(type);
        }
        context.addFilterMap(map);
        App.servlets(given[2]).forEach((pattern, servlet) -> {
            var wrapper = Tomcat.addServlet(context, pattern, servlet);
            wrapper.setAsyncSupported(true);
            context.addServletMappingDecoded(pattern, pattern);
        });
        for (int status : new int[] {400, 404, 418, 500, 503}) {
            var page = new ErrorPage();
            page.setErrorCode(status);
            page.setLocation(App.ERROR_PAGE);
            context.addErrorPage(page);
        }
        tomcat.start();
        tomcat.getServer().await();
    }
}
