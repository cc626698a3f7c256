package authz.front;

import java.io.IOException;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Locale;
import java.util.Properties;
import java.util.Set;

/**
 * The settings of one front, as {@code authz front jetty} renders them: a properties file.
 *
 * <p>Law: a key that is missing, or a value that does not fit, is an error when the front starts. Nothing has a default here:
 * names of headers are those that the gate's own code has.
 */
public final class Settings {
    private final Properties values = new Properties();
    private final Path file;

    /** Reads the file. */
    public Settings(Path file) throws IOException {
        this.file = file;
        try (var text = Files.newBufferedReader(file)) {
            values.load(text);
        }
    }

    /** The value of a key; it may be empty. */
    public String text(String key) {
        String value = values.getProperty(key);
        if (value == null) {
            throw new IllegalArgumentException(file + ": `" + key + "` is missing: render it again with `authz front jetty`");
        }
        return value.strip();
    }

    /** A whole number from 1 on. */
    public int number(String key) {
        try {
            int number = Integer.parseInt(text(key));
            if (number > 0) {
                return number;
            }
        } catch (NumberFormatException notANumber) {
            // said below
        }
        throw new IllegalArgumentException(file + ": `" + key + "` is not a whole number from 1 on");
    }

    /** A time in milliseconds. */
    public Duration time(String key) {
        return Duration.ofMillis(number(key));
    }

    /** Words between spaces. */
    public List<String> words(String key) {
        return text(key).isEmpty() ? List.of() : List.of(text(key).split("\\s+"));
    }

    /** Names of headers, in lower case. */
    public Set<String> names(String key) {
        return Set.copyOf(words(key).stream().map(name -> name.toLowerCase(Locale.ROOT)).toList());
    }

    /** Addresses, http or https, without a path. */
    public List<URI> addresses(String key) {
        List<URI> found = words(key).stream().map(URI::create).toList();
        for (URI one : found) {
            boolean known = "http".equals(one.getScheme()) || "https".equals(one.getScheme());
            if (!known || one.getHost() == null || one.getPort() < 0 || !one.getRawPath().isEmpty() || one.getRawQuery() != null) {
                throw new IllegalArgumentException(file + ": `" + key + "`: " + one + " is not http://HOST:PORT or https://HOST:PORT");
            }
        }
        if (found.isEmpty()) {
            throw new IllegalArgumentException(file + ": `" + key + "` names no address");
        }
        return found;
    }
}
