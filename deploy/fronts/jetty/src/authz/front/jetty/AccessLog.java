package authz.front.jetty;

import java.io.IOException;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import org.eclipse.jetty.server.Request;
import org.eclipse.jetty.server.RequestLog;
import org.eclipse.jetty.server.RequestLogWriter;
import org.eclipse.jetty.server.Response;
import org.eclipse.jetty.util.component.AbstractLifeCycle;
import org.eclipse.jetty.util.log.Log;

/**
 * One JSON line for each request, with the decision's id; without its query and headers: a token may be there.
 */
public final class AccessLog extends AbstractLifeCycle implements RequestLog {
    private final RequestLogWriter file;

    /** {@code path}: the file, null for standard output. */
    public AccessLog(String path) {
        file = path == null ? null : new RequestLogWriter(path);
    }

    @Override
    protected void doStart() throws Exception {
        if (file != null) {
            file.setAppend(true);
            file.setRetainDays(0); // kept: whoever rotates it removes it
            file.start();
        }
    }

    @Override
    protected void doStop() throws Exception {
        if (file != null) {
            file.stop();
        }
    }

    @Override
    public void log(Request request, Response response) {
        var line = new StringBuilder(256).append('{');
        field(line, "time", Instant.ofEpochMilli(request.getTimeStamp()).truncatedTo(ChronoUnit.MILLIS).toString());
        field(line, "decision", response.getHeader("x-authz-decision"));
        field(line, "request", (String) request.getAttribute(AirflowProxy.REQUEST_ID));
        field(line, "client", request.getRemoteAddr());
        field(line, "method", request.getMethod());
        field(line, "path", request.getRequestURI());
        field(line, "status", Integer.toString(response.getCommittedMetaData().getStatus()));
        field(line, "milliseconds", Long.toString(System.currentTimeMillis() - request.getTimeStamp()));
        field(line, "bytes", Long.toString(response.getHttpChannel().getBytesWritten()));
        line.setCharAt(line.length() - 1, '}');
        try {
            if (file == null) {
                System.out.println(line);
            } else {
                file.write(line.toString());
            }
        } catch (IOException failure) {
            Log.getLogger(AccessLog.class).warn("the access log cannot be written: {}", failure.getClass().getSimpleName());
        }
    }

    private static void field(StringBuilder line, String name, String value) {
        line.append('"').append(name).append("\":\"");
        for (char one : (value == null ? "" : value).toCharArray()) {
            if (one == '"' || one == '\\' || one < 0x20 || one > 0x7e) {
                line.append(String.format("\\u%04x", (int) one));
            } else {
                line.append(one);
            }
        }
        line.append("\",");
    }
}
