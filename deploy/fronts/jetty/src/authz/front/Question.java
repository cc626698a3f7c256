package authz.front;

import java.util.List;
import java.util.Locale;
import java.util.regex.Pattern;

/**
 * What a caller asks for, and what the gate is asked about: the request line and the few headers that it reads.
 *
 * <p>Law: {@code target} is the raw one, byte by byte, and has one reading only. What a server could read in two ways is refused
 * here, never rewritten: Jetty and Tomcat drop {@code ;x} and resolve dot segments when they look for a servlet, others decode
 * {@code %2F}. Source: RFC 3986 §3.3, §3.4; docs/http-check.md.
 *
 * @param method as it came, in any case
 * @param target path and query as they came
 * @param hosts each Host line
 * @param authorizations each Authorization line
 * @param accepts each Accept line
 * @param traces each traceparent line
 * @param client the caller's IP address
 */
public record Question(
        String method,
        String target,
        List<String> hosts,
        List<String> authorizations,
        List<String> accepts,
        List<String> traces,
        String client) {
    private static final Pattern METHOD = Pattern.compile("[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}");
    // No groups that repeat: they would recurse for each character, and anyone may send a long target.
    private static final Pattern PATH = Pattern.compile("/[A-Za-z0-9._~!$&'()*+,;=:@/%-]*+");
    private static final Pattern QUERY = Pattern.compile("[A-Za-z0-9._~!$&'()*+,;=:@/?\\[\\]%-]++"); // Java's client drops an empty one
    private static final Pattern BAD_ESCAPE = Pattern.compile("%(?![0-9A-Fa-f]{2})");
    // Read in two ways by servers that the gate reads in one: it is not asked about these.
    private static final Pattern UNCLEAR = Pattern.compile(";|%(?:2[fF]|3[bB])");
    // Decoded, the gate refuses these, and records it: an allow of one would be a mistake.
    private static final Pattern REFUSED = Pattern.compile("//|/\\.{1,2}(?:;[^/]*)?(?:/|$)|[\\\\\\x00-\\x1f\\x7f]");
    private static final Pattern VALUE = Pattern.compile("[\\x20-\\x7e\\t]*+");

    /** Whether the gate can be asked: false is a 400 for the caller. {@code server} is the host that the server read, without a port. */
    public boolean isClear(String server) {
        int cut = target.indexOf('?');
        String path = path();
        return METHOD.matcher(method).matches()
                && !method.equals("CONNECT")
                && PATH.matcher(path).matches()
                && !BAD_ESCAPE.matcher(target).find()
                && (isRefused() || !UNCLEAR.matcher(path).find())
                && (cut < 0 || QUERY.matcher(target.substring(cut + 1)).matches())
                && hosts.size() == 1
                && isHostOf(server)
                && visible(hosts)
                && visible(authorizations);
    }

    /** Whether the gate refuses the path, whatever its policy says. */
    boolean isRefused() {
        return REFUSED.matcher(decoded(path())).find();
    }

    private String path() {
        int cut = target.indexOf('?');
        return cut < 0 ? target : target.substring(0, cut);
    }

    /** The host of an absolute-form target is not the Host line's in every server: then it is another request. */
    private boolean isHostOf(String server) {
        String host = hosts.get(0).strip().toLowerCase(Locale.ROOT);
        return !host.isEmpty() && bare(host.replaceFirst(":[0-9]*$", "")).equals(bare(server.toLowerCase(Locale.ROOT)));
    }

    private static String bare(String host) {
        return host.replaceFirst("^\\[(.*)]$", "$1"); // servers differ in whether they keep the brackets of an IPv6 address
    }

    private static boolean visible(List<String> values) {
        return values.stream().allMatch(value -> VALUE.matcher(value).matches());
    }

    /** The values that can be sent as they are. */
    static List<String> sendable(List<String> values) {
        return values.stream().filter(value -> VALUE.matcher(value).matches()).toList();
    }

    /** Whether the path is this one or below it, in any case and any spelling: Airflow's API for its tasks. */
    public boolean isBelow(String prefix) {
        String path = decoded(path()).toLowerCase(Locale.ROOT);
        return path.startsWith(prefix) && !path.substring(prefix.length()).matches("(?s)[a-z0-9_-].*");
    }

    private static String decoded(String path) {
        var text = new StringBuilder();
        for (int at = 0; at < path.length(); at++) {
            if (path.charAt(at) == '%') {
                text.append((char) Integer.parseInt(path.substring(at + 1, at + 3), 16));
                at += 2;
            } else {
                text.append(path.charAt(at));
            }
        }
        return text.toString();
    }
}
