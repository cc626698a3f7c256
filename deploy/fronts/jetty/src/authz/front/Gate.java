package authz.front;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodySubscriber;
import java.net.http.HttpTimeoutException;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Flow;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * Asks the gate over HTTP, without blocking a thread: {@code METHOD /check/NAME/TARGET} (docs/http-check.md).
 *
 * <p>Law: a complete 200 is an allow; everything else is a refusal, also every exception. Each question has one deadline, and only so many
 * are under way at once: one more is refused at once. The number of threads is fixed. A question has no body, follows no
 * redirect, uses no proxy, and has none of the caller's headers but the four that the gate reads.
 */
public final class Gate implements AutoCloseable {
    private static final String RESTRICTED = "jdk.httpclient.allowRestrictedHeaders";
    private static final int THREADS = 4;
    private static final int LONGEST_BODY = 1 << 20;
    private static final Duration CONNECT = Duration.ofSeconds(1);
    private static final Set<String> OF_THE_CONNECTION =
            Set.of("connection", "keep-alive", "transfer-encoding", "content-length", "date", "server", "trailer", "upgrade", "x-authz-status");

    static {
        if (System.getProperty(RESTRICTED) == null) {
            System.setProperty(RESTRICTED, "host"); // the client reads it when its first class is loaded
        }
    }

    private final List<URI> addresses;
    private final String path;
    private final Duration deadline;
    private final String clientHeader;
    private final Set<String> set;
    private final Set<String> removed;
    private final List<String> prefixes;
    private final String notFound;
    private final Semaphore free;
    private final ExecutorService threads;
    private final HttpClient client;
    private final AtomicInteger next = new AtomicInteger();

    /** Raises IllegalArgumentException for settings that do not fit, IllegalStateException where Java does not let it set Host. */
    public Gate(Settings settings) {
        addresses = settings.addresses("gate");
        path = "/check/" + settings.text("name");
        deadline = settings.time("deadline_ms");
        clientHeader = settings.text("client_address");
        set = settings.names("set");
        removed = settings.names("removed");
        prefixes = List.copyOf(settings.names("removed_prefixes"));
        notFound = settings.text("not_found");
        free = new Semaphore(settings.number("questions"));
        try {
            HttpRequest.newBuilder().header("Host", "a");
        } catch (IllegalArgumentException restricted) {
            throw new IllegalStateException("start Java with -D" + RESTRICTED + "=host: the question has the caller's Host");
        }
        threads = Executors.newFixedThreadPool(THREADS, work -> {
            var thread = new Thread(work, "authz-gate");
            thread.setDaemon(true);
            return thread;
        });
        client = HttpClient.newBuilder()
                .version(HttpClient.Version.HTTP_1_1)
                .followRedirects(HttpClient.Redirect.NEVER)
                .proxy(HttpClient.Builder.NO_PROXY)
                .connectTimeout(CONNECT)
                .executor(threads)
                .build();
    }

    @Override
    public void close() {
        threads.shutdownNow();
    }

    boolean sets(String name) {
        return set.contains(name);
    }

    /** Whether a caller's header, in lower case, never reaches the application. What is no plain name could be read as another one. */
    boolean removes(String name) {
        return removed.contains(name)
                || prefixes.stream().anyMatch(name::startsWith)
                || !name.chars().allMatch(one -> one == '-' || (one >= 'a' && one <= 'z') || (one >= '0' && one <= '9'));
    }

    /**
     * Asks, and always completes with an answer, on one of this gate's threads: never exceptionally.
     *
     * @param server the host that the server read from the request
     */
    public CompletableFuture<Answer> ask(Question question, String server) {
        if (!question.isClear(server)) {
            return CompletableFuture.completedFuture(Answer.refusal(this, question, 400, "bad_request"));
        }
        if (!notFound.isEmpty() && question.isBelow(notFound)) {
            return CompletableFuture.completedFuture(Answer.refusal(this, question, 404, "not_found"));
        }
        if (!free.tryAcquire()) {
            return CompletableFuture.completedFuture(Answer.refusal(this, question, 503, "busy"));
        }
        var answer = new CompletableFuture<Answer>();
        answer.completeOnTimeout(away(question), deadline.toMillis(), TimeUnit.MILLISECONDS);
        CompletableFuture<Answer> released = answer.whenComplete((said, failure) -> free.release());
        try {
            send(question, answer, Math.max(2, addresses.size()), next.getAndIncrement());
        } catch (RuntimeException failure) {
            answer.complete(away(question));
        }
        return released.thenApplyAsync(said -> said, threads).exceptionally(failure -> away(question));
    }

    private Answer away(Question question) {
        return Answer.refusal(this, question, 503, "unavailable");
    }

    /** A question changes nothing: where a connection broke, another worker is asked, until the deadline. */
    private void send(Question question, CompletableFuture<Answer> answer, int tries, int first) {
        URI address = addresses.get(Math.floorMod(first, addresses.size()));
        CompletableFuture<HttpResponse<byte[]>> exchange = client.sendAsync(request(question, address), info -> new Limited());
        answer.whenComplete((said, failure) -> exchange.cancel(true)); // of the deadline; else it has ended already
        exchange.whenComplete((said, failure) -> {
            if (failure == null) {
                answer.complete(read(question, said));
            } else if (tries > 1 && !answer.isDone() && isBroken(failure)) {
                try {
                    send(question, answer, tries - 1, first + 1);
                } catch (RuntimeException again) {
                    answer.complete(away(question));
                }
            } else {
                answer.complete(away(question));
            }
        });
    }

    private static boolean isBroken(Throwable failure) {
        Throwable cause = failure instanceof CompletionException && failure.getCause() != null ? failure.getCause() : failure;
        boolean late = cause instanceof HttpTimeoutException && !(cause instanceof java.net.http.HttpConnectTimeoutException);
        return cause instanceof IOException && !late;
    }

    private HttpRequest request(Question question, URI address) {
        var builder = HttpRequest.newBuilder(URI.create(address + path + question.target()))
                .timeout(deadline)
                .method(question.method(), BodyPublishers.noBody())
                .header("Host", question.hosts().get(0));
        question.authorizations().forEach(value -> builder.header("Authorization", value)); // the gate refuses two
        Question.sendable(question.accepts()).forEach(value -> builder.header("Accept", value));
        Question.sendable(question.traces()).forEach(value -> builder.header("traceparent", value));
        if (!clientHeader.isEmpty()) {
            builder.header(clientHeader, question.client());
        }
        return builder.build();
    }

    /** An allow has every identity header once, and a decision. What has no decision is not the policy's answer. */
    private Answer read(Question question, HttpResponse<byte[]> said) {
        Map<String, List<String>> headers = said.headers().map();
        var decision = headers.getOrDefault("x-authz-decision", List.of());
        boolean decided = decision.size() == 1 && !decision.get(0).isBlank();
        if (said.statusCode() == 200) {
            boolean whole = decided && set.stream().allMatch(name -> headers.getOrDefault(name, List.of()).size() == 1);
            if (question.isRefused()) {
                return Answer.refusal(this, question, 400, "bad_request");
            }
            return whole ? new Answer(this, question, 200, lower(headers), new byte[0]) : away(question);
        }
        if (decided && said.statusCode() >= 400 && said.statusCode() < 600) {
            return new Answer(this, question, said.statusCode(), lower(headers), said.body());
        }
        return said.statusCode() == 400 ? Answer.refusal(this, question, 400, "bad_request") : away(question);
    }

    private static Map<String, List<String>> lower(Map<String, List<String>> headers) {
        var kept = new LinkedHashMap<String, List<String>>();
        headers.forEach((name, values) -> {
            String usual = name.toLowerCase(java.util.Locale.ROOT);
            if (!OF_THE_CONNECTION.contains(usual)) {
                kept.put(usual, values);
            }
        });
        return kept;
    }

    /** A body of at most {@link #LONGEST_BODY} bytes; a longer one is a failure. */
    private static final class Limited implements BodySubscriber<byte[]> {
        private final CompletableFuture<byte[]> body = new CompletableFuture<>();
        private final ByteArrayOutputStream read = new ByteArrayOutputStream();
        private Flow.Subscription subscription;

        @Override
        public CompletionStage<byte[]> getBody() {
            return body;
        }

        @Override
        public void onSubscribe(Flow.Subscription given) {
            subscription = given;
            given.request(Long.MAX_VALUE);
        }

        @Override
        public void onNext(List<ByteBuffer> parts) {
            for (ByteBuffer part : parts) {
                if (read.size() + part.remaining() > LONGEST_BODY) {
                    subscription.cancel();
                    body.completeExceptionally(new IOException("the gate's answer is too long"));
                    return;
                }
                var bytes = new byte[part.remaining()];
                part.get(bytes);
                read.writeBytes(bytes);
            }
        }

        @Override
        public void onError(Throwable failure) {
            body.completeExceptionally(failure);
        }

        @Override
        public void onComplete() {
            body.complete(read.toByteArray());
        }
    }
}
