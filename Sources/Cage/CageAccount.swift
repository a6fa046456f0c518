import Glibc

/// The Unix user that root changes to before it runs a program in a cage.
public struct CageAccount: Sendable, Equatable {
    /// The number of the user.
    public var user: UInt32
    /// The number of its group.
    public var group: UInt32
    /// The numbers of its supplementary groups.
    public var groups: [UInt32]

    /// The name of the account that a host may have for stages.
    public static let name = "therapybridge-stage"

    /// Names an account by its numbers.
    ///
    /// - Parameters:
    ///   - user: The number of the user.
    ///   - group: The number of its group.
    ///   - groups: The numbers of its supplementary groups.
    public init(user: UInt32, group: UInt32, groups: [UInt32] = []) {
        self.user = user
        self.group = group
        self.groups = groups
    }

    /// The account for the stages of this process: `therapybridge-stage` if the host has it, else `nobody`; nil if this
    /// process does not run as root, and stages run as its own user.
    public static func ofStages() -> CageAccount? {
        guard geteuid() == 0 else { return nil }
        return named(name) ?? named("nobody") ?? CageAccount(user: 65_534, group: 65_534)
    }

    private static func named(_ name: String) -> CageAccount? {
        // `getpwnam` shares its result between threads.
        var entry = unsafe passwd()
        var found: UnsafeMutablePointer<passwd>?
        var buffer = [CChar](repeating: 0, count: 16_384)
        let status = unsafe buffer.withUnsafeMutableBufferPointer { buffer in
            unsafe getpwnam_r(name, &entry, buffer.baseAddress!, buffer.count, &found)
        }
        guard status == 0, unsafe found != nil, unsafe entry.pw_uid != 0 else { return nil }
        var groups = [gid_t](repeating: 0, count: 64)
        var count = Int32(groups.count)
        guard unsafe getgrouplist(name, entry.pw_gid, &groups, &count) >= 0 else {
            return unsafe CageAccount(user: entry.pw_uid, group: entry.pw_gid)
        }
        return unsafe CageAccount(
            user: entry.pw_uid, group: entry.pw_gid,
            groups: groups.prefix(Int(count)).filter { $0 != 0 })
    }
}
