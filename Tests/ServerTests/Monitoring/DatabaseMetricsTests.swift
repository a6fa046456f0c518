import Prometheus
import ServerTestSupport
import Testing

@testable import App

/// What the time of statements counts under.
@Suite("Metrics of the database") struct DatabaseMetricsTests {
    @Test(
        "A statement counts under the first function of the schema that it calls",
        arguments: [
            ("SELECT version FROM app.report_progress($1, $2)", "report_progress"),
            ("SELECT app.set_acting_user($1), app.admit($2)", "set_acting_user"),
            ("INSERT INTO app.webhooks (url) VALUES ($1)", "other"),
            ("SELECT snapp.er($1), app .er($1)", "other"),
            ("BEGIN ISOLATION LEVEL READ COMMITTED", "other"),
            ("COMMIT", "commit"),
            ("", "other"),
        ])
    func names(sql: String, name: String) { #expect(DatabaseMetrics.name(of: sql) == name) }

    @Test("Statements with one name share their time and their count")
    func shared() throws {
        let registry = PrometheusRegistry()
        let metrics = DatabaseMetrics(factory: registry)
        metrics.ran("SELECT app.admit($1)", for: .milliseconds(250))
        metrics.ran("SELECT * FROM app.admit($1)", for: .milliseconds(500))
        metrics.ran("SELECT app.admit($1)", for: .milliseconds(250))
        metrics.waited(for: .milliseconds(500))
        let scrape = try Scrape(registry.render())
        let labels = ["statement": "admit"]
        #expect(scrape.value("therapybridge_database_statements_total", labels) == 3)
        #expect(scrape.value("therapybridge_database_seconds_total", labels) == 1)
        #expect(scrape.value("therapybridge_pool_wait_seconds_sum") == 0.5)
        #expect(registry.refusals == 0)
    }

    @Test("Any number of texts has the memory and the series of few")
    func manyTexts() throws {
        let registry = PrometheusRegistry()
        let metrics = DatabaseMetrics(factory: registry)
        for number in 0..<3000 { metrics.ran("SELECT \(number), app.admit($1)", for: .milliseconds(1)) }
        let scrape = try Scrape(registry.render())
        #expect(scrape.value("therapybridge_database_statements_total", ["statement": "admit"]) == 3000)
    }
}
