package authz.front.jetty;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import javax.servlet.http.HttpServletRequest;
import javax.servlet.http.HttpServletResponse;
import org.eclipse.jetty.http.HttpFields;
import org.eclipse.jetty.server.Request;
import org.eclipse.jetty.server.handler.ErrorHandler;

/** What Jetty itself refuses: a status and a line of JSON, with nothing of the request and nothing about the server. */
public final class JsonErrors extends ErrorHandler {
    @Override
    public void handle(String target, Request base, HttpServletRequest request, HttpServletResponse response) throws IOException {
        base.setHandled(true);
        byte[] body = body(response.getStatus());
        response.setContentType("application/json");
        response.setHeader("Cache-Control", "no-store");
        response.setContentLength(body.length);
        response.getOutputStream().write(body);
    }

    @Override
    public ByteBuffer badMessageError(int status, String reason, HttpFields fields) {
        fields.put("Content-Type", "application/json");
        fields.put("Cache-Control", "no-store");
        return ByteBuffer.wrap(body(status));
    }

    private static byte[] body(int status) {
        String error = switch (status) {
            case 404 -> "not_found";
            case 408 -> "too_slow";
            case 413 -> "body_too_large";
            case 431 -> "headers_too_large";
            default -> status >= 500 ? "unavailable" : "bad_request";
        };
        return ("{\"error\":\"" + error + "\"}").getBytes(StandardCharsets.UTF_8);
    }
}
