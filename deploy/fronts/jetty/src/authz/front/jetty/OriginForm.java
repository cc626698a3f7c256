package authz.front.jetty;

import org.eclipse.jetty.http.BadMessageException;
import org.eclipse.jetty.http.HttpURI;
import org.eclipse.jetty.io.QuietException;
import org.eclipse.jetty.server.Connector;
import org.eclipse.jetty.server.HttpConfiguration;
import org.eclipse.jetty.server.Request;

/**
 * Refuses every request target that is not a path with a query (RFC 9112 §3.2.1). The servlet API does not show the others as they came:
 * of {@code http://host/path} it has the path, of {@code /path#x} it leaves the fragment out.
 */
public final class OriginForm implements HttpConfiguration.Customizer {
    @Override
    public void customize(Connector connector, HttpConfiguration configuration, Request request) {
        HttpURI uri = request.getMetaData().getURI(); // its authority may be of the Host line
        String path = uri.getPath();
        if (path == null || !path.startsWith("/") || uri.getScheme() != null || uri.getFragment() != null) {
            throw new Refused();
        }
    }

    /** Not worth a line of the log: anyone can cause it. */
    private static final class Refused extends BadMessageException implements QuietException {
        Refused() {
            super(400);
        }
    }
}
