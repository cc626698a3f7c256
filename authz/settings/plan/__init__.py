"""What Envoy's configuration is rendered from: data and its checks only."""
