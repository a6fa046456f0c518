import CoreMetrics
import Testing

@testable import Prometheus

/// The text format, line by line, as its specification requires.
@Suite("The text for Prometheus") struct ExpositionTests {
    private let registry = PrometheusRegistry()

    @Test("An empty registry gives an empty text")
    func empty() {
        #expect(registry.render() == "")
    }

    @Test("Each metric has one TYPE line and its sorted series after it")
    func grouping() {
        Counter(label: "b_total", dimensions: [("x", "2")], factory: registry).increment(by: 5)
        Gauge(label: "a", factory: registry).record(1)
        Counter(label: "b_total", dimensions: [("x", "1")], factory: registry).increment()
        #expect(
            registry.render() == """
                # TYPE a gauge
                a 1
                # TYPE b_total counter
                b_total{x="1"} 1
                b_total{x="2"} 5

                """)
        #expect(registry.render() == registry.render())
    }

    @Test("The meaning of a metric is shown and escaped")
    func help() {
        let described = PrometheusRegistry(descriptions: ["a_total": "One \\ two\nthree \"four\""])
        _ = Counter(label: "a", factory: described)
        _ = Counter(label: "b", factory: described)
        #expect(
            described.render() == #"""
                # HELP a_total One \\ two\nthree "four"
                # TYPE a_total counter
                a_total 0
                # TYPE b_total counter
                b_total 0

                """#)
    }

    @Test("A character is escaped also before a combining mark and after a carriage return")
    func escapesByCodePoint() {
        let described = PrometheusRegistry(descriptions: ["a": "\\\u{301}\r\n"])
        Gauge(label: "a", dimensions: [("b", "\"\u{301}\\\u{301}\r\n")], factory: described).record(1)
        let bytes = Array(described.render().utf8)
        let expected =
            "# HELP a \\\\\u{301}\r\\n\n# TYPE a gauge\na{b=\"\\\"\u{301}\\\\\u{301}\r\\n\"} 1\n"
        #expect(bytes == Array(expected.utf8), "\(described.render())")
    }

    @Test("The values of labels are escaped")
    func labelValues() {
        Gauge(label: "a", dimensions: [("path", "C:\\DIR\n\"x\" é{},=")], factory: registry).record(1)
        #expect(registry.render().split(separator: "\n").last == #"a{path="C:\\DIR\n\"x\" é{},="} 1"#)
    }

    @Test(
        "Metrics get names that Prometheus accepts",
        arguments: [
            ("plain", "plain"), ("http.server-requests", "http_server_requests"), ("a:b", "a_b"), ("9lives", "_9lives"),
            ("", "_"), ("größe", "gr____e"),
        ])
    func names(label: String, name: String) {
        Gauge(label: label, factory: registry).record(1)
        #expect(registry.render() == "# TYPE \(name) gauge\n\(name) 1\n")
    }

    @Test("Labels get names that Prometheus accepts, and no reserved name")
    func labelNames() {
        let dimensions = [("le", "1"), ("__name__", "2"), ("a-b", "3"), ("a.b", "4"), ("7", "5")]
        Gauge(label: "a", dimensions: dimensions, factory: registry).record(1)
        #expect(registry.render().hasSuffix("\na{_7=\"5\",_name__=\"2\",a_b=\"3\",exported_le=\"1\"} 1\n"))
    }

    @Test("A missing suffix is appended")
    func suffixes() {
        for label in ["a", "b_total"] { Counter(label: label, factory: registry).increment() }
        for label in ["c", "d_seconds"] { Timer(label: label, factory: registry).recordSeconds(1) }
        let names = registry.render().split(separator: "\n").filter { $0.hasPrefix("# TYPE") }
        #expect(
            names == [
                "# TYPE a_total counter", "# TYPE b_total counter", "# TYPE c_seconds histogram",
                "# TYPE d_seconds histogram",
            ])
    }

    @Test(
        "Numbers have the form that Go parses",
        arguments: [
            (0, "0"), (-1, "-1"), (0.5, "0.5"), (1e15, "1000000000000000"), (1e300, "1e+300"), (2.5e-7, "2.5e-07"),
            (.nan, "NaN"), (.infinity, "+Inf"), (-.infinity, "-Inf"), (-0.0, "0"),
        ])
    func numbers(value: Double, text: String) {
        #expect(Exposition.number(value) == text)
    }
}
