"""Jetty (a servlet filter of ours, then Jetty's own proxy): `jetty.xml`, `java.args`, and a file for each filter.

Law: as in `authz.fronts`. The filter refuses what servers could read in two ways, asks about the raw target, and the
proxy sends the bytes that were asked about. The JDK's HTTP client connects over TCP only. Which headers are removed and
set is said here: the filter's code, in `deploy/fronts/jetty/`, has no list of its own.
Source: Jetty 9.4 (`HttpConfiguration`, `XmlConfiguration`, `AsyncProxyServlet`), the `java` command's argument files.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Final

from authz.core.addresses import HostPort, SocketPath
from authz.core.errors import ConfigError, Problem
from authz.fronts import crossing
from authz.fronts.plan import GATE_IDLE_S, UPSTREAM_IDLE_S, Place, Plan

FILE: Final = "jetty.xml"
ARGUMENTS: Final = "java.args"
JAR: Final = "authz-front.jar"
QUESTIONS: Final = 512
"""So many are under way at once; one more is refused with 503 at once."""
_THREADS: Final = 64
_JARS: Final = "/usr/share/java"
_PARTS: Final = ("server", "servlet", "servlets", "proxy", "client", "http", "io", "util", "security", "xml")

_ALL: Final = Template(
    """\
<?xml version="1.0"?>
<!DOCTYPE Configure PUBLIC "-//Jetty//Configure//EN" "http://www.eclipse.org/jetty/configure_9_3.dtd">
<Configure id="Server" class="org.eclipse.jetty.server.Server">
  <Arg>
    <New class="org.eclipse.jetty.util.thread.QueuedThreadPool">
      <Arg type="int">$threads</Arg> <!-- no request keeps one while it waits for the gate or Airflow -->
      <Arg type="int">8</Arg>
    </New>
  </Arg>
  <Set name="stopAtShutdown">true</Set>
  <Set name="stopTimeout">30000</Set>
  <Set name="errorHandler"><New class="authz.front.jetty.JsonErrors"/></Set>
$connectors  <Set name="handler">
    <New class="org.eclipse.jetty.server.handler.StatisticsHandler"> <!-- what is under way ends before Jetty does -->
      <Set name="handler">
        <New class="org.eclipse.jetty.server.handler.HandlerList">
          <Set name="handlers">
            <Array type="org.eclipse.jetty.server.Handler">
$contexts            </Array>
          </Set>
        </New>
      </Set>
    </New>
  </Set>
</Configure>
"""
)
_CONNECTOR: Final = Template(
    """\
  <Call name="addConnector">
    <Arg>
      <New class="org.eclipse.jetty.server.ServerConnector">
        <Arg><Ref refid="Server"/></Arg>
        <Arg>
          <New class="authz.front.jetty.PemTls">
            <Arg>$certificate</Arg>
            <Arg>$key</Arg>
            <Arg>$client_ca</Arg>
          </New>
        </Arg>
        <Arg>
          <Array type="org.eclipse.jetty.server.ConnectionFactory">
            <Item>
              <New class="org.eclipse.jetty.server.HttpConnectionFactory"> <!-- HTTP/1.1 only -->
                <Arg>
                  <New class="org.eclipse.jetty.server.HttpConfiguration">
                    <Set name="secureScheme">https</Set>
                    <Set name="sendServerVersion">false</Set>
                    <Set name="delayDispatchUntilContent">false</Set> <!-- a refusal needs no body -->
                    <Set name="sendDateHeader">false</Set>
                    <Set name="requestHeaderSize">$header_bytes</Set>
                    <Set name="outputAggregationSize">0</Set> <!-- Airflow streams logs -->
                    <Set name="responseHeaderSize">65536</Set>
                    <Call name="addCustomizer"><Arg><New class="authz.front.jetty.OriginForm"/></Arg></Call>
                    <Call name="addCustomizer">
                      <Arg>
                        <New class="org.eclipse.jetty.server.SecureRequestCustomizer">
                          <Arg type="boolean">false</Arg> <!-- any Host: the policy decides -->
                        </New>
                      </Arg>
                    </Call>
                  </New>
                </Arg>
                <Arg><Get class="org.eclipse.jetty.http.HttpCompliance" name="RFC7230"/></Arg>
              </New>
            </Item>
          </Array>
        </Arg>
        <Set name="name">authz_$number</Set>
        <Set name="host">$host</Set>
        <Set name="port">$port</Set>
        <Set name="idleTimeout">$idle_ms</Set>
        <Set name="acceptQueueSize">1024</Set>
      </New>
    </Arg>
  </Call>
"""
)
_CONTEXT: Final = Template(
    """\
              <Item>
                <New class="org.eclipse.jetty.server.handler.RequestLogHandler">
                  <Set name="requestLog"><New class="authz.front.jetty.AccessLog"><Arg>$access_log</Arg></New></Set>
                  <Set name="handler">
                    <New class="org.eclipse.jetty.servlet.ServletContextHandler">
                      <Set name="contextPath">/</Set>
                      <Set name="virtualHosts"><Array type="String"><Item>@authz_$number</Item></Array></Set>
                      <Set name="errorHandler"><New class="authz.front.jetty.JsonErrors"/></Set>
                      <Call name="insertHandler">
                        <Arg>
                          <New class="org.eclipse.jetty.server.handler.SizeLimitHandler">
                            <Arg type="long">$request_bytes</Arg>
                            <Arg type="long">-1</Arg>
                          </New>
                        </Arg>
                      </Call>
                      <Call name="addFilter">
                        <Arg>
                          <New class="org.eclipse.jetty.servlet.FilterHolder">
                            <Set name="className">authz.front.javax.AuthzFilter</Set>
                            <Set name="asyncSupported">true</Set>
                            <Call name="setInitParameter"><Arg>settings</Arg><Arg>$settings</Arg></Call>
                          </New>
                        </Arg>
                        <Arg>/*</Arg>
                        <Arg>
                          <Call class="java.util.EnumSet" name="allOf">
                            <Arg>
                              <Call class="java.lang.Class" name="forName">
                                <Arg>javax.servlet.DispatcherType</Arg>
                              </Call>
                            </Arg>
                          </Call>
                        </Arg>
                      </Call>
                      <Call name="addServlet">
                        <Arg>
                          <New class="org.eclipse.jetty.servlet.ServletHolder">
                            <Set name="className">authz.front.jetty.AirflowProxy</Set>
                            <Set name="asyncSupported">true</Set>
                            <Set name="initOrder">1</Set>
                            <Call name="setInitParameter"><Arg>maxConnections</Arg><Arg>1024</Arg></Call>
                            <Call name="setInitParameter"><Arg>settings</Arg><Arg>$settings</Arg></Call>
                          </New>
                        </Arg>
                        <Arg>/*</Arg>
                      </Call>
                    </New>
                  </Set>
                </New>
              </Item>
"""
)


def render(plans: Sequence[Plan], folder: Path) -> Mapping[str, str]:
    """The files of this front by their names.

    Raises:
        ConfigError: an address that Java's HTTP client or Jetty cannot have.
    """
    for plan in plans:
        _possible(plan)
    numbered = list(enumerate(plans))
    arguments = (
        "-Djdk.httpclient.allowRestrictedHeaders=host",
        f"-Djdk.httpclient.keepalive.timeout={GATE_IDLE_S}",
        "-XX:+ExitOnOutOfMemoryError",
        "-cp",
        ":".join([str(folder / JAR), f"{_JARS}/servlet-api.jar", *(f"{_JARS}/jetty9-{part}.jar" for part in _PARTS)]),
        "org.eclipse.jetty.xml.XmlConfiguration",
        str(folder / FILE),
    )
    return {
        FILE: _ALL.substitute(
            threads=_THREADS,
            connectors="".join(_connector(plan, at) for at, plan in numbered),
            contexts="".join(_context(plan, at, folder) for at, plan in numbered),
        ),
        ARGUMENTS: "\n".join(arguments) + "\n",
        **{_settings_file(at): "".join(_settings(plan)) for at, plan in numbered},
    }


def _possible(plan: Plan) -> None:
    """Say what Jetty cannot do, before anything is written."""
    found: list[Problem] = []

    def wrong(text: str, hint: str) -> None:
        found.append(Problem(FILE, 0, 0, f"{plan.name}: {text}", hint))

    if isinstance(plan.listen, SocketPath):
        wrong("jetty listens over TCP", "write host:port as `listen`")
    if not _gates(plan):
        wrong(
            "jetty asks over TCP: `http_check.listen` has only Unix sockets", 'add a loopback port, as "127.0.0.1:9193"'
        )
    if len(plan.airflow) != 1 or isinstance(plan.airflow[0], SocketPath):
        wrong("jetty forwards to one host:port", "write one address as `airflow.address`")
    if found:
        raise ConfigError(found)


def _gates(plan: Plan) -> list[HostPort]:
    return [place for place in plan.gate if isinstance(place, HostPort)]


def _settings_file(number: int) -> str:
    return f"authz-{number}.properties"


def _settings(plan: Plan) -> Iterator[str]:
    """What the filter and the proxy read."""
    tls = bool(plan.airflow_name)
    values: Mapping[str, object] = {
        "name": plan.name,
        "gate": " ".join(f"http://{_written(place)}" for place in _gates(plan)),
        "deadline_ms": round(plan.check_s * 1000),
        "questions": QUESTIONS,
        "client_address": plan.client_address,
        "not_found": f"{plan.base}/execution",
        "set": " ".join(crossing.SET),
        "removed": " ".join(crossing.REMOVED),
        "removed_prefixes": " ".join(crossing.REMOVED_PREFIXES),
        "airflow": f"{'https' if tls else 'http'}://{_written(plan.airflow[0])}",
        "airflow_name": plan.airflow_name,
        "airflow_ca": plan.airflow_ca,
        "airflow_idle_ms": UPSTREAM_IDLE_S * 1000,
        "idle_ms": plan.idle_s * 1000,
        "request_bytes": plan.request_bytes,
        "passed": " ".join(crossing.PASSED),
        "hidden": " ".join(crossing.HIDDEN),
    }
    for key, value in values.items():
        yield f"{key} = {value}".rstrip() + "\n"


def _connector(plan: Plan, number: int) -> str:
    assert isinstance(plan.listen, HostPort)  # noqa: S101 `_possible` has said so
    return _CONNECTOR.substitute(
        number=number,
        certificate=plan.certificate,
        key=plan.key,
        client_ca=plan.client_ca,
        header_bytes=plan.header_kib * 1024,
        host=plan.listen.host,
        port=plan.listen.port,
        idle_ms=plan.idle_s * 1000,
    )


def _context(plan: Plan, number: int, folder: Path) -> str:
    return _CONTEXT.substitute(
        number=number,
        access_log=plan.access_log,
        request_bytes=plan.request_bytes,
        settings=folder / _settings_file(number),
    )


def _written(place: Place) -> str:
    assert isinstance(place, HostPort)  # noqa: S101 `_possible` has said so
    return f"[{place.host}]:{place.port}" if ":" in place.host else f"{place.host}:{place.port}"
