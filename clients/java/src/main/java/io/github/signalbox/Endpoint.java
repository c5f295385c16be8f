package io.github.signalbox;

import io.grpc.ChannelCredentials;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import java.net.URI;
import java.net.URISyntaxException;
import java.util.concurrent.TimeUnit;

/** Where a server is, and how to get there. */
record Endpoint(String url, String host, int port, ChannelCredentials credentials) {
    private static final int MAX_PORT = 65_535;

    /**
     * Reads {@code http://host:port}, {@code https://host:port} or {@code host:port}.
     *
     * @throws IllegalArgumentException if it is none of them
     */
    static Endpoint read(String text, ChannelCredentials tls) {
        String url = text.contains("://") ? text : "http://" + text;
        try {
            URI at = new URI(url);
            boolean secure = "https".equalsIgnoreCase(at.getScheme());
            boolean bare = at.getUserInfo() == null && at.getQuery() == null && at.getFragment() == null
                    && (at.getPath().isEmpty() || at.getPath().equals("/"));
            if (at.getHost() != null && bare && at.getPort() <= MAX_PORT
                    && (secure || "http".equalsIgnoreCase(at.getScheme()))) {
                int port = at.getPort() > 0 ? at.getPort() : secure ? 443 : 80;
                return new Endpoint(url, at.getHost(), port, secure ? tls : InsecureChannelCredentials.create());
            }
        } catch (URISyntaxException error) {
            // As below.
        }
        throw new IllegalArgumentException("\"" + text
                + "\" is no endpoint: it reads http://host:port, https://host:port or host:port");
    }

    /** A connection of its own, made when it is first used. */
    ManagedChannel channel() {
        return Grpc.newChannelBuilderForAddress(host, port, credentials)
                // HTTP/2 pings find a dead server even where no heartbeats are asked for.
                .keepAliveTime(20, TimeUnit.SECONDS)
                .keepAliveTimeout(10, TimeUnit.SECONDS)
                .disableRetry()
                .build();
    }

    @Override
    public String toString() {
        return url;
    }
}
