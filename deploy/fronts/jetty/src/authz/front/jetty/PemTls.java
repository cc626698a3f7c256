package authz.front.jetty;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import org.eclipse.jetty.util.log.Log;
import org.eclipse.jetty.util.ssl.SslContextFactory;

/**
 * TLS of a listener from PEM files, which it reads again when one changes: new connections get the new certificate, none is cut.
 *
 * <p>Law: files that do not fit together, as while they are being written, change nothing.
 */
public final class PemTls extends SslContextFactory.Server {
    private static final long EVERY_MS = 1_000;

    private final Path certificate;
    private final Path key;
    private final Path clientAuthority;
    private List<byte[]> read = List.of();
    private ScheduledExecutorService watch;

    /** {@code clientAuthority}: callers need a certificate of it; null for none. */
    public PemTls(String certificate, String key, String clientAuthority) {
        this.certificate = Path.of(certificate);
        this.key = Path.of(key);
        this.clientAuthority = clientAuthority == null ? null : Path.of(clientAuthority);
        setKeyStorePassword(new String(Pem.IN_MEMORY));
        setKeyManagerPassword(new String(Pem.IN_MEMORY));
        setIncludeProtocols("TLSv1.2", "TLSv1.3");
        setRenegotiationAllowed(false);
        setNeedClientAuth(this.clientAuthority != null);
    }

    @Override
    protected void doStart() throws Exception {
        read = contents();
        take(this);
        super.doStart();
        watch = Executors.newSingleThreadScheduledExecutor(work -> {
            var thread = new Thread(work, "authz-certificates");
            thread.setDaemon(true);
            return thread;
        });
        watch.scheduleWithFixedDelay(this::look, EVERY_MS, EVERY_MS, TimeUnit.MILLISECONDS);
    }

    @Override
    protected void doStop() throws Exception {
        watch.shutdownNow();
        super.doStop();
    }

    private void take(SslContextFactory factory) {
        factory.setKeyStore(Pem.identity(certificate, key));
        if (clientAuthority != null) {
            factory.setTrustStore(Pem.authorities(clientAuthority));
        }
    }

    private void look() {
        try {
            List<byte[]> now = contents();
            boolean same = now.size() == read.size();
            for (int at = 0; same && at < now.size(); at++) {
                same = Arrays.equals(now.get(at), read.get(at));
            }
            if (!same && Pem.fits(certificate, key)) {
                reload(this::take);
                read = now;
                Log.getLogger(PemTls.class).info("certificates read again");
            }
        } catch (Exception failure) { // tried again in a second
            Log.getLogger(PemTls.class).warn("certificates not read again: {}", failure.getClass().getSimpleName());
        }
    }

    private List<byte[]> contents() throws IOException {
        var found = new ArrayList<byte[]>();
        for (Path file : clientAuthority == null ? List.of(certificate, key) : List.of(certificate, key, clientAuthority)) {
            found.add(Files.readAllBytes(file));
        }
        return found;
    }
}
