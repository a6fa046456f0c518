import Testing

@testable import HTTPAPI

@Suite struct PageTemplateTests {
    @Test("A value stands where its name was, escaped for HTML")
    func values() throws {
        #expect(
            try PageTemplate.render("<p title='{{a.b}}'>{{c}}{{c}}", ["a.b": "<&>\"'", "c": "ü", "d": ""])
                == "<p title='&lt;&amp;&gt;&quot;&#39;'>üü")
        #expect(try PageTemplate.render("no { name }", [:]) == "no { name }")
        #expect(try PageTemplate.render("a{{! {name}\nof none }}b", [:]) == "ab")
    }

    @Test("A name without a value, or without an end, is a fault of the page", arguments: ["{{b}}", "{{a", "{{ a }}"])
    func faults(_ template: String) {
        #expect(throws: PageTemplate.Failure.self) { try PageTemplate.render(template, ["a": "1"]) }
    }
}
