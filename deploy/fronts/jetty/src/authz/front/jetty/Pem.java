package authz.front.jetty;

import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.KeyFactory;
import java.security.KeyStore;
import java.security.PrivateKey;
import java.security.Signature;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Base64;
import java.util.Collection;
import java.util.List;
import java.util.regex.Pattern;

/**
 * Certificates and keys in PEM, as the other fronts read them, for Java's key stores.
 *
 * <p>Law: an error names the file, never what is in it. Sources: RFC 7468, RFC 5958.
 */
final class Pem {
    /** Of the store in memory, which never leaves it. */
    static final char[] IN_MEMORY = "in-memory".toCharArray();

    private static final Pattern KEY = Pattern.compile("-----BEGIN PRIVATE KEY-----([A-Za-z0-9+/=\\s]+)-----END PRIVATE KEY-----");

    private Pem() {}

    /** A store with the chain of a certificate and its key. */
    static KeyStore identity(Path certificate, Path key) {
        try {
            KeyStore store = empty();
            store.setKeyEntry("front", key(key), IN_MEMORY, certificates(certificate).toArray(Certificate[]::new));
            return store;
        } catch (GeneralSecurityException | IOException failure) {
            throw new IllegalArgumentException("cannot read " + certificate + " with " + key + ": " + failure.getClass().getSimpleName());
        }
    }

    /** Whether the key is the certificate's: while both are being written it is not. */
    static boolean fits(Path certificate, Path key) throws GeneralSecurityException, IOException {
        var probe = "probe".getBytes(StandardCharsets.US_ASCII);
        PrivateKey read = key(key);
        var signature = Signature.getInstance(read.getAlgorithm().equals("RSA") ? "SHA256withRSA"
                : read.getAlgorithm().equals("EC") ? "SHA256withECDSA" : "Ed25519");
        signature.initSign(read);
        signature.update(probe);
        byte[] signed = signature.sign();
        signature.initVerify(certificates(certificate).iterator().next());
        signature.update(probe);
        return signature.verify(signed);
    }

    /** A store of authorities to trust. */
    static KeyStore authorities(Path file) {
        try {
            KeyStore store = empty();
            for (Certificate one : certificates(file)) {
                store.setCertificateEntry("authority-" + store.size(), one);
            }
            return store;
        } catch (GeneralSecurityException | IOException failure) {
            throw new IllegalArgumentException("cannot read " + file + ": " + failure.getClass().getSimpleName());
        }
    }

    private static KeyStore empty() throws GeneralSecurityException, IOException {
        KeyStore store = KeyStore.getInstance("PKCS12");
        store.load(null, IN_MEMORY);
        return store;
    }

    private static Collection<? extends Certificate> certificates(Path file) throws GeneralSecurityException, IOException {
        return CertificateFactory.getInstance("X.509").generateCertificates(new ByteArrayInputStream(Files.readAllBytes(file)));
    }

    private static PrivateKey key(Path file) throws IOException {
        var found = KEY.matcher(Files.readString(file));
        if (found.find()) {
            var spec = new PKCS8EncodedKeySpec(Base64.getMimeDecoder().decode(found.group(1)));
            for (String algorithm : List.of("EC", "RSA", "Ed25519")) {
                try {
                    return KeyFactory.getInstance(algorithm).generatePrivate(spec);
                } catch (GeneralSecurityException another) {
                    // the next one
                }
            }
        }
        throw new IllegalArgumentException(file + " has no key in PKCS #8: convert it with `openssl pkcs8 -topk8 -nocrypt`");
    }
}
