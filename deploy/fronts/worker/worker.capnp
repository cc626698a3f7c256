# workerd serve worker.capnp >> /var/log/front/access.log

using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    (name = "gate-0", external = (address = "unix:/run/authz/http.sock", http = ())),
    (name = "worker-0", worker = (
      modules = .modules,
      compatibilityDate = "2026-11-01",
      bindings = [
        (name = "NAME", text = "airflow"),
        (name = "CLIENT", text = "connection"),
        (name = "CONFIG", kvNamespace = "config"),
        (name = "GATE", service = "gate-0"),
        (name = "UPSTREAM", service = "upstream-0"),
      ],
    )),
    (name = "upstream-0", external = (address = "127.0.0.1:8080", http = ())),
    # KV namespace of the Worker: a folder whose files are its keys. A new file counts within ten seconds.
    (name = "config", disk = (path = "/etc/authz/worker/config")),
    # Where key sets are fetched: the addresses in config/issuers.json, and nowhere else.
    (name = "internet", network = (allow = ["public", "private"], tlsOptions = (trustBrowserCas = true))),
  ],
  sockets = [
    (name = "front-0", address = "0.0.0.0:8443", service = "worker-0",
      https = (options = (), tlsOptions = (keypair = (privateKey = embed "../tls.key", certificateChain = embed "../tls.crt"), minVersion = tls1Dot2))),
  ],
);

const modules :List(Workerd.Worker.Module) = [
  (name = "worker.js", esModule = embed "worker.js"),
  (name = "config.js", esModule = embed "config.js"),
  (name = "errors.js", esModule = embed "errors.js"),
  (name = "headers.js", esModule = embed "headers.js"),
  (name = "keys.js", esModule = embed "keys.js"),
  (name = "token.js", esModule = embed "token.js"),
];
