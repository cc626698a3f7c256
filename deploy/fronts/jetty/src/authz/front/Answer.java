package authz.front;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.stream.Collectors;

/**
 * What the gate said of one question, or what the front says when it said nothing: allowed, or what the caller gets.
 *
 * <p>Law: only {@link Gate} makes an allow, of a complete 200 alone.
 */
public final class Answer {
    /** The attribute of a request under which its answer is. */
    public static final String ATTRIBUTE = "authz.front.Answer";

    private static final String DECISION = "x-authz-decision";
    private static final String REMOVE = "x-authz-remove"; // what else this request may not pass on

    private final Gate gate;
    private final Question question;
    private final int status;
    private final Map<String, List<String>> headers;
    private final byte[] body;
    private final Set<String> removed;

    Answer(Gate gate, Question question, int status, Map<String, List<String>> headers, byte[] body) {
        this.gate = gate;
        this.question = question;
        this.status = status;
        this.headers = headers;
        this.body = body;
        this.removed = Set.copyOf(Arrays.stream(identity(REMOVE).split(",")).map(String::strip).collect(Collectors.toSet()));
    }

    /** A refusal of the front's own. */
    static Answer refusal(Gate gate, Question question, int status, String error) {
        var headers = new LinkedHashMap<String, List<String>>();
        headers.put("content-type", List.of("application/json"));
        headers.put("cache-control", List.of("no-store"));
        if (error.equals("busy")) {
            headers.put("retry-after", List.of("1"));
        }
        byte[] body = ("{\"error\":\"" + error + "\"}").getBytes(StandardCharsets.UTF_8);
        return new Answer(gate, question, status, headers, body);
    }

    public boolean isAllow() {
        return status == 200;
    }

    /** Whether this gate said it: an answer of another filter is none. */
    public boolean isOf(Gate asked) {
        return gate == asked;
    }

    /** What was asked about. */
    public Question question() {
        return question;
    }

    /** The caller's status; for an allow 200. */
    public int status() {
        return status;
    }

    /** A refusal's headers for the caller, in lower case. */
    public Map<String, List<String>> headers() {
        return headers;
    }

    /** A refusal's body for the caller. */
    public byte[] body() {
        return body;
    }

    /** The decision's id; empty where the gate did not answer. */
    public String decision() {
        return identity(DECISION);
    }

    /** An identity header of the answer, empty where it says nothing. */
    public String identity(String name) {
        List<String> found = headers.getOrDefault(name, List.of());
        return found.size() == 1 ? found.get(0) : "";
    }

    /** The person or service that calls, for the record; null for an anonymous caller. */
    public String caller() {
        String user = identity("x-authz-user");
        String known = user.isEmpty() ? identity("x-authz-subject") : user;
        return known.isEmpty() ? null : known;
    }

    /** Whether the gate gave the caller this role. */
    public boolean hasRole(String role) {
        return Set.of(identity("x-authz-roles").split(",")).contains(role) && !role.isEmpty();
    }

    /** What the application may read of this header: the answer's, the caller's (null), or nothing (empty). */
    public String replaced(String name) {
        String usual = name.toLowerCase(Locale.ROOT);
        if (gate.sets(usual)) {
            return identity(usual);
        }
        return gate.removes(usual) || removed.contains(usual) ? "" : null;
    }

    /** The names of the identity headers that this answer has. */
    public List<String> identityNames() {
        return headers.keySet().stream().filter(name -> gate.sets(name) && !identity(name).isEmpty()).toList();
    }
}
