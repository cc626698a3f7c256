package authz.front.javax;

import authz.front.Answer;
import java.security.Principal;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Enumeration;
import java.util.List;
import java.util.Map;
import javax.servlet.AsyncContext;
import javax.servlet.http.Cookie;
import javax.servlet.http.HttpServletRequest;
import javax.servlet.http.HttpServletRequestWrapper;
import javax.servlet.http.HttpServletResponse;
import javax.servlet.http.PushBuilder;

/**
 * An allowed request, as the application sees it: the caller is the one that the gate found.
 *
 * <p>Law: every way to a header gives the same: the answer's identity headers, never the caller's own, no credentials, no cookies.
 */
final class AuthorizedRequest extends HttpServletRequestWrapper {
    private final HttpServletResponse response;
    private final Answer answer;

    AuthorizedRequest(HttpServletRequest request, HttpServletResponse response, Answer answer) {
        super(request);
        this.response = response;
        this.answer = answer;
    }

    @Override
    public String getHeader(String name) {
        String said = answer.replaced(name);
        if (said == null) {
            return super.getHeader(name);
        }
        return said.isEmpty() ? null : said;
    }

    @Override
    public Enumeration<String> getHeaders(String name) {
        String said = answer.replaced(name);
        if (said == null) {
            return super.getHeaders(name);
        }
        return Collections.enumeration(said.isEmpty() ? List.of() : List.of(said));
    }

    @Override
    public Enumeration<String> getHeaderNames() {
        List<String> names = new ArrayList<>(answer.identityNames());
        for (String name : Collections.list(super.getHeaderNames())) {
            if (answer.replaced(name) == null) {
                names.add(name);
            }
        }
        return Collections.enumeration(names);
    }

    @Override
    public int getIntHeader(String name) {
        String value = getHeader(name);
        return value == null ? -1 : Integer.parseInt(value);
    }

    @Override
    public long getDateHeader(String name) {
        if (answer.replaced(name) == null) {
            return super.getDateHeader(name);
        }
        if (getHeader(name) == null) {
            return -1;
        }
        throw new IllegalArgumentException(name + " is no date");
    }

    @Override
    public Cookie[] getCookies() {
        return null; // as the servlet API says of a request without any
    }

    @Override
    public String getRemoteUser() {
        return answer.caller();
    }

    @Override
    public Principal getUserPrincipal() {
        String caller = answer.caller();
        return caller == null ? null : new Caller(caller);
    }

    @Override
    public boolean isUserInRole(String role) {
        return answer.hasRole(role);
    }

    @Override
    public String getAuthType() {
        return answer.caller() == null ? null : "AUTHZ";
    }

    @Override
    public AsyncContext startAsync() {
        return super.startAsync(this, response); // else the application would be dispatched to with the caller's own headers
    }

    @Override
    public Map<String, String> getTrailerFields() {
        return Map.of();
    }

    @Override
    public PushBuilder newPushBuilder() {
        return null; // it would have the caller's own headers
    }

    private record Caller(String name) implements Principal {
        @Override
        public String getName() {
            return name;
        }
    }
}
