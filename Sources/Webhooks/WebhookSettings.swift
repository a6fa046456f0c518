public import Domain
public import SettingsReading

/// Where webhooks may go.
public struct WebhookSettings: Sendable {
    /// The rules for targets.
    public let rules: WebhookRules

    /// Reads the group.
    ///
    /// - Parameter reader: Reads the environment.
    /// - Throws: ``SettingError`` for a bad value.
    public init(_ reader: SettingsReader) throws(SettingError) {
        rules = WebhookRules(
            allowsPrivateTargets: try reader.group("Webhooks").choice(
                "WEBHOOK_PRIVATE_TARGETS", ["off": false, "on": true], default: "off",
                "`on`: webhooks may go to private addresses, such as those of this host and its network, and by http. "
                    + "See [webhooks](webhooks.md#targets)."))
    }
}
