// swift-tools-version: 6.2
import PackageDescription

let swiftSettings: [SwiftSetting] = [
    // https://github.com/swiftlang/swift-evolution/blob/main/proposals/0335-existential-any.md
    .enableUpcomingFeature("ExistentialAny"),
    // https://github.com/swiftlang/swift-evolution/blob/main/proposals/0409-access-level-on-imports.md
    .enableUpcomingFeature("InternalImportsByDefault"),
    // https://github.com/swiftlang/swift-evolution/blob/main/proposals/0444-member-import-visibility.md
    .enableUpcomingFeature("MemberImportVisibility"),
    // https://github.com/swiftlang/swift-evolution/blob/main/proposals/0443-warning-control-flags.md
    .treatAllWarnings(as: .error),
]

/// For the targets that touch C, on top of the common settings.
let unsafeSettings: [SwiftSetting] =
    swiftSettings + [
        // https://github.com/swiftlang/swift-evolution/blob/main/proposals/0458-strict-memory-safety.md
        .strictMemorySafety()
    ]

// The release of the program needs no library of the toolchain. At the link, -static-stdlib takes the archives of the runtime in
// place of its libraries. It names only those of the standard library: those of FoundationEssentials follow. Foundation itself is
// missing on purpose. docs/decisions/0047-foundation-essentials.md says why, and why the linker leaves the tables for C++ exceptions
// out.
let inRelease = BuildSettingCondition.when(platforms: [.linux], configuration: .release)
let staticRuntime: [LinkerSetting] =
    [
        .unsafeFlags(
            ["-static-stdlib", "-use-ld=lld"]
                + [
                    "--gc-sections", "-z", "pack-relative-relocs", "--no-export-dynamic", "--no-eh-frame-hdr",
                    "-T", Context.packageDirectory + "/Sources/Tools/without-eh-frame.ld",
                ].flatMap { ["-Xlinker", $0] },
            inRelease)
    ]
    + ["FoundationEssentials", "_FoundationCShims", "_FoundationCollections", "swiftSynchronization"]
    .map { .linkedLibrary($0, inRelease) }

let package = Package(
    name: "therapybridge",
    platforms: [.macOS(.v15)],
    products: [
        .executable(name: "therapybridge", targets: ["therapybridge"]),
        .library(name: "TherapyBridgeClient", targets: ["TherapyBridgeClient"]),
        // Tests load it into a program, which then sees 64 processors.
        .library(name: "ManyProcessors", type: .dynamic, targets: ["ManyProcessors"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
        .package(url: "https://github.com/apple/swift-async-algorithms", from: "1.1.4"),
        .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
        .package(url: "https://github.com/apple/swift-configuration", from: "1.4.0", traits: []),
        .package(url: "https://github.com/apple/swift-crypto", from: "4.5.0"),
        .package(url: "https://github.com/apple/swift-http-types", from: "1.8.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.0"),
        .package(url: "https://github.com/apple/swift-metrics", from: "2.13.0"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.0"),
        .package(url: "https://github.com/apple/swift-nio-extras", from: "1.35.0"),
        .package(url: "https://github.com/apple/swift-nio-ssl.git", from: "2.37.0"),
        .package(url: "https://github.com/apple/swift-system", from: "1.8.0"),
        // Without the trait FullFoundation, which would bring ICU into the program.
        .package(
            url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.1", traits: ["ConfigurationSupport"]),
        .package(url: "https://github.com/hummingbird-project/swift-mustache", from: "2.1.1"),
        .package(url: "https://github.com/swift-server/async-http-client", from: "1.37.0"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
        .package(url: "https://github.com/swiftlang/swift-subprocess", from: "1.0.2"),
        .package(url: "https://github.com/vapor/jwt-kit", from: "5.7.1"),
    ],
    targets: [
        // MARK: C

        .systemLibrary(name: "CLibPQ", pkgConfig: "libpq", providers: [.apt(["libpq-dev"])]),
        .systemLibrary(name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),
        .target(name: "CCage"),
        .target(name: "CEpoll"),
        .target(name: "CMemory"),
        .target(name: "CProcess"),
        .target(name: "CSpawn"),

        // MARK: Below everything

        .target(name: "DurationUnits", swiftSettings: swiftSettings),
        .target(name: "TextForms", swiftSettings: swiftSettings, plugins: ["EmbedFiles"]),
        .target(name: "SecretFiles", swiftSettings: unsafeSettings),
        .target(
            name: "SettingsReading",
            dependencies: [.product(name: "Configuration", package: "swift-configuration")],
            swiftSettings: swiftSettings
        ),

        // MARK: PostgreSQL

        .target(
            name: "Polling",
            dependencies: ["CEpoll", "DurationUnits", .product(name: "HeapModule", package: "swift-collections")],
            swiftSettings: unsafeSettings
        ),
        .target(
            name: "Postgres",
            dependencies: [
                "CLibPQ", "DurationUnits", "Polling", "TextForms",
                .product(name: "DequeModule", package: "swift-collections"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "OrderedCollections", package: "swift-collections"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
            ],
            swiftSettings: unsafeSettings
        ),
        .target(
            name: "LocalPostgres",
            dependencies: ["CSpawn", "SecretFiles", "TextForms", .product(name: "Logging", package: "swift-log")],
            swiftSettings: unsafeSettings
        ),

        // MARK: Metrics

        .target(
            name: "Prometheus",
            dependencies: [.product(name: "CoreMetrics", package: "swift-metrics")],
            swiftSettings: swiftSettings
        ),

        // MARK: The way of one change

        .target(name: "Domain", dependencies: ["DurationUnits", "TextForms"], swiftSettings: swiftSettings),
        .target(name: "JSONScanning", swiftSettings: swiftSettings),
        .target(
            name: "Store",
            dependencies: ["Domain", "Postgres", .product(name: "DequeModule", package: "swift-collections")],
            swiftSettings: swiftSettings
        ),
        .target(
            name: "Migrations",
            dependencies: [
                "Polling", "Postgres", "TextForms",
                .product(name: "Crypto", package: "swift-crypto"),
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: swiftSettings,
            plugins: ["EmbedFiles"]
        ),
        .target(
            name: "Progress",
            dependencies: [
                "Domain", "Polling", "Postgres", "Store",
                .product(name: "CoreMetrics", package: "swift-metrics"),
                .product(name: "DequeModule", package: "swift-collections"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
            ],
            swiftSettings: unsafeSettings
        ),
        .target(
            name: "Streaming",
            dependencies: [
                "CMemory", "Domain", "DurationUnits", "Polling",
                .product(name: "CoreMetrics", package: "swift-metrics"),
                .product(name: "HeapModule", package: "swift-collections"),
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: unsafeSettings
        ),

        // MARK: HTTP and the pipeline

        .target(name: "Brotli", swiftSettings: unsafeSettings),
        .target(name: "Gzip", dependencies: ["CZlib"], swiftSettings: unsafeSettings),
        .target(
            name: "Cage",
            dependencies: [
                "CCage",
                .product(name: "Subprocess", package: "swift-subprocess"),
                .product(name: "SystemPackage", package: "swift-system"),
            ],
            swiftSettings: unsafeSettings
        ),
        .target(
            name: "Credentials",
            dependencies: [
                "Domain", "JSONScanning", "SecretFiles", "SettingsReading", "TextForms",
                .product(name: "Crypto", package: "swift-crypto"),
                .product(name: "CryptoExtras", package: "swift-crypto"),
                .product(name: "JWTKit", package: "jwt-kit"),
                .product(name: "NIOPosix", package: "swift-nio"),
            ],
            swiftSettings: swiftSettings
        ),
        .target(
            name: "Recordings",
            dependencies: [
                "SecretFiles", "SettingsReading", "TextForms",
                .product(name: "Crypto", package: "swift-crypto"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "_NIOFileSystem", package: "swift-nio"),
            ],
            swiftSettings: swiftSettings
        ),
        .target(
            name: "HTTPAPI",
            dependencies: [
                "Brotli", "Credentials", "Domain", "DurationUnits", "Gzip", "JSONScanning", "Polling", "Postgres",
                "Progress", "Prometheus", "Recordings", "SettingsReading", "Store", "Streaming", "TextForms",
                .product(name: "CoreMetrics", package: "swift-metrics"),
                .product(name: "Crypto", package: "swift-crypto"),
                .product(name: "DequeModule", package: "swift-collections"),
                .product(name: "HTTPTypes", package: "swift-http-types"),
                .product(name: "Hummingbird", package: "hummingbird"),
                .product(name: "HummingbirdCore", package: "hummingbird"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "Metrics", package: "swift-metrics"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOHTTPTypes", package: "swift-nio-extras"),
                .product(name: "NIOHTTPTypesHTTP1", package: "swift-nio-extras"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "_NIOFileSystem", package: "swift-nio"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
            ],
            exclude: ["Web/Assets"],
            swiftSettings: swiftSettings,
            plugins: ["EmbedFiles"]
        ),
        .target(
            name: "Pipeline",
            dependencies: [
                "Cage", "Domain", "JSONScanning", "Postgres", "Recordings", "SettingsReading", "Store", "TextForms",
                .product(name: "AsyncAlgorithms", package: "swift-async-algorithms"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "Metrics", package: "swift-metrics"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
                .product(name: "Subprocess", package: "swift-subprocess"),
                .product(name: "SystemPackage", package: "swift-system"),
                .product(name: "UnixSignals", package: "swift-service-lifecycle"),
                .product(name: "_NIOFileSystem", package: "swift-nio"),
            ],
            swiftSettings: swiftSettings
        ),

        .target(
            name: "Webhooks",
            dependencies: [
                "Domain", "Polling", "SettingsReading", "Store", "TextForms",
                .product(name: "AsyncHTTPClient", package: "async-http-client"),
                .product(name: "CoreMetrics", package: "swift-metrics"),
                .product(name: "Crypto", package: "swift-crypto"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
            ],
            swiftSettings: swiftSettings
        ),

        // MARK: The program

        .target(
            name: "App",
            dependencies: [
                "CProcess", "Cage", "Credentials", "Domain", "DurationUnits", "HTTPAPI", "LocalPostgres", "Migrations",
                "Pipeline",
                "Polling", "Postgres", "Progress", "Prometheus", "Recordings", "SecretFiles", "SettingsReading",
                "Store", "TextForms", "TherapyBridgeClient", "Webhooks",
                .product(name: "CoreMetrics", package: "swift-metrics"),
                .product(name: "Crypto", package: "swift-crypto"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "Metrics", package: "swift-metrics"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
                .product(name: "UnixSignals", package: "swift-service-lifecycle"),
            ],
            exclude: ["Demo"],
            swiftSettings: swiftSettings,
            plugins: ["EmbedFiles"]
        ),
        .executableTarget(
            name: "therapybridge",
            dependencies: [
                "App", "Cage", "Domain", "Pipeline", "SettingsReading",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "SystemPackage", package: "swift-system"),
            ],
            swiftSettings: swiftSettings,
            linkerSettings: staticRuntime
        ),

        // MARK: The client in Swift

        // Imports nothing of the server.
        .target(
            name: "TherapyBridgeClient",
            dependencies: [
                .product(name: "AsyncHTTPClient", package: "async-http-client"),
                .product(name: "Crypto", package: "swift-crypto"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOFoundationEssentialsCompat", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
                .product(name: "NIOWebSocket", package: "swift-nio"),
                .product(name: "SystemPackage", package: "swift-system"),
            ],
            swiftSettings: swiftSettings
        ),

        // MARK: Tests

        .target(
            name: "PropertySupport", path: "Tests/PropertySupport", swiftSettings: swiftSettings
        ),
        // Knows nothing of the product.
        .target(
            name: "TestSupport",
            dependencies: [
                "PropertySupport",
                .product(name: "Crypto", package: "swift-crypto"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "Subprocess", package: "swift-subprocess"),
                .product(name: "SystemPackage", package: "swift-system"),
            ],
            path: "Tests/TestSupport",
            swiftSettings: swiftSettings
        ),
        // Runs a program as on a host that lacks parts of the kernel.
        .executableTarget(name: "without-layers", path: "Tests/WithoutLayers"),
        .target(name: "ManyProcessors", path: "Tests/ManyProcessors"),
        // A clock to be moved by hand; what else knows of time in tests is in TestSupport.
        .target(
            name: "TestTime", dependencies: ["Polling", "TestSupport"], path: "Tests/TestTime",
            swiftSettings: swiftSettings
        ),
        .target(
            name: "PostgresTestSupport",
            dependencies: ["Domain", "LocalPostgres", "Migrations", "Postgres", "Store", "TestSupport"],
            path: "Tests/PostgresTestSupport",
            swiftSettings: swiftSettings
        ),
        .target(
            name: "ServerTestSupport",
            dependencies: [
                "App", "Credentials", "Domain", "LocalPostgres", "Polling", "PostgresTestSupport", "Prometheus",
                "SettingsReading",
                "TestSupport", "Webhooks",
                .product(name: "AsyncHTTPClient", package: "async-http-client"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
            ],
            path: "Tests/ServerTestSupport",
            swiftSettings: swiftSettings
        ),
        .testTarget(
            name: "BenchTests",
            dependencies: [
                "TestSupport", "bench",
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
            ],
            swiftSettings: swiftSettings
        ),
        .testTarget(
            name: "CageTests",
            dependencies: [
                "CCage", "Cage", "TestSupport",
                .product(name: "Subprocess", package: "swift-subprocess"),
            ],
            swiftSettings: swiftSettings
        ),
        .testTarget(
            name: "ClientTests",
            dependencies: [
                "Credentials", "Domain", "Postgres", "PostgresTestSupport", "ServerTestSupport", "TestSupport",
                "TestTime", "TherapyBridgeClient",
                .product(name: "Crypto", package: "swift-crypto"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "Subprocess", package: "swift-subprocess"),
                .product(name: "SystemPackage", package: "swift-system"),
            ],
            swiftSettings: swiftSettings
        ),
        .testTarget(
            name: "CommandTests",
            dependencies: [
                "Domain", "LocalPostgres", "Postgres", "PostgresTestSupport", "ServerTestSupport", "TestSupport",
                "without-layers",
                .product(name: "AsyncHTTPClient", package: "async-http-client"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "Subprocess", package: "swift-subprocess"),
                .product(name: "SystemPackage", package: "swift-system"),
            ],
            swiftSettings: swiftSettings
        ),
        .testTarget(
            name: "CredentialsTests",
            dependencies: [
                "Credentials", "Domain", "PropertySupport", "SettingsReading", "TestSupport",
                .product(name: "Crypto", package: "swift-crypto"),
                .product(name: "CryptoExtras", package: "swift-crypto"),
            ],
            swiftSettings: swiftSettings
        ),
        .testTarget(
            name: "DocumentTests",
            dependencies: [
                "App", "Domain", "HTTPAPI", "Postgres", "PostgresTestSupport", "SettingsReading", "TestSupport",
                "RenderDocs",
                .product(name: "HTTPTypes", package: "swift-http-types"),
            ],
            swiftSettings: swiftSettings
        ),
        .testTarget(
            name: "TextFormsTests", dependencies: ["TestSupport", "TextForms"], swiftSettings: swiftSettings),
        .testTarget(
            name: "DomainTests", dependencies: ["Domain", "DurationUnits", "PropertySupport", "TestSupport"],
            swiftSettings: swiftSettings),
        .testTarget(
            name: "HTTPAPITests",
            dependencies: [
                "Credentials", "Domain", "HTTPAPI", "Polling", "Postgres", "PropertySupport", "Store", "TestSupport",
                "TestTime",
                .product(name: "HTTPTypes", package: "swift-http-types"),
                .product(name: "Hummingbird", package: "hummingbird"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOEmbedded", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
            ],
            swiftSettings: swiftSettings
        ),
        .testTarget(name: "JSONScanningTests", dependencies: ["JSONScanning"], swiftSettings: swiftSettings),
        .testTarget(
            name: "MigrationTests",
            dependencies: [
                "LocalPostgres", "Migrations", "Postgres", "PostgresTestSupport", "SchemaCatalogue", "TestSupport",
            ],
            swiftSettings: swiftSettings
        ),
        .testTarget(
            name: "PipelineTests",
            dependencies: [
                "Cage", "Domain", "JSONScanning", "Pipeline", "TestSupport", "TestTime",
                .product(name: "Subprocess", package: "swift-subprocess"),
                .product(name: "SystemPackage", package: "swift-system"),
            ],
            swiftSettings: swiftSettings
        ),
        .testTarget(
            name: "PollingTests", dependencies: ["Polling", "TestSupport", "TestTime"], swiftSettings: swiftSettings),
        .testTarget(
            name: "PostgresTests",
            dependencies: [
                "LocalPostgres", "Polling", "Postgres", "PostgresTestSupport", "TestSupport", "TestTime",
                .product(name: "Logging", package: "swift-log"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
            ],
            swiftSettings: swiftSettings
        ),
        .testTarget(
            name: "ProgressTests",
            dependencies: [
                "Domain", "Polling", "Progress", "Prometheus", "PropertySupport", "Store", "TestSupport", "TestTime",
                .product(name: "CoreMetrics", package: "swift-metrics"),
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: swiftSettings
        ),
        .testTarget(
            name: "PrometheusTests",
            dependencies: ["Prometheus", "TestSupport", .product(name: "CoreMetrics", package: "swift-metrics")],
            swiftSettings: swiftSettings
        ),
        .testTarget(
            name: "RecordingsTests",
            dependencies: [
                "Recordings", "SettingsReading", "TestSupport",
                .product(name: "Crypto", package: "swift-crypto"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "_NIOFileSystem", package: "swift-nio"),
            ],
            swiftSettings: swiftSettings
        ),
        .testTarget(
            name: "RenderDocsTests", dependencies: ["RenderDocs", "TestSupport"], swiftSettings: swiftSettings),
        .testTarget(
            name: "SchemaTests",
            dependencies: ["Domain", "Postgres", "PostgresTestSupport", "PropertySupport", "Store", "TestSupport"],
            swiftSettings: swiftSettings
        ),
        .testTarget(
            name: "ServerTests",
            dependencies: [
                "App", "Cage", "Credentials", "Domain", "LocalPostgres", "Pipeline", "Polling", "Postgres",
                "PostgresTestSupport", "Prometheus", "PropertySupport", "Recordings", "ServerTestSupport",
                "SettingsReading", "Store", "TestSupport", "TestTime", "without-layers",
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
            ],
            swiftSettings: swiftSettings
        ),
        .testTarget(name: "StoreTests", dependencies: ["Domain", "Store"], swiftSettings: swiftSettings),
        .testTarget(
            name: "SecretFilesTests", dependencies: ["SecretFiles", "TestSupport"], swiftSettings: swiftSettings),
        .testTarget(
            name: "StreamingTests",
            dependencies: [
                "Domain", "Polling", "PropertySupport", "Streaming", "TestSupport", "TestTime",
                .product(name: "CoreMetrics", package: "swift-metrics"),
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: swiftSettings
        ),

        .testTarget(
            name: "WebhooksTests",
            dependencies: [
                "Domain", "Polling", "ServerTestSupport", "Store", "TestSupport", "TestTime", "Webhooks",
                .product(name: "NIOHTTP1", package: "swift-nio"),
            ],
            swiftSettings: swiftSettings
        ),

        // MARK: Tools

        .executableTarget(
            name: "sseload",
            path: "Sources/Tools/sseload",
            cSettings: [
                .define("_GNU_SOURCE"), .enableWarning("all"), .enableWarning("extra"), .treatAllWarnings(as: .error),
            ]
        ),
        .executableTarget(
            name: "bench",
            dependencies: [
                "Credentials", "Domain", "LocalPostgres", "Migrations", "Postgres",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "AsyncHTTPClient", package: "async-http-client"),
                .product(name: "HTTPTypes", package: "swift-http-types"),
                .product(name: "Hummingbird", package: "hummingbird"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "Subprocess", package: "swift-subprocess"),
                .product(name: "SystemPackage", package: "swift-system"),
                .product(name: "UnixSignals", package: "swift-service-lifecycle"),
            ],
            path: "Sources/Tools/bench",
            exclude: ["Peers"],
            swiftSettings: swiftSettings,
            plugins: ["EmbedFiles"]
        ),

        // MARK: The description of the schema

        .target(
            name: "SchemaCatalogue", dependencies: ["Postgres"], path: "Sources/Tools/SchemaCatalogue",
            swiftSettings: swiftSettings),
        .executableTarget(
            name: "write-schema",
            dependencies: [
                "LocalPostgres", "Migrations", "Postgres", "SchemaCatalogue",
                .product(name: "Logging", package: "swift-log"),
            ],
            path: "Sources/Tools/write-schema",
            swiftSettings: swiftSettings
        ),

        // MARK: Building

        .executableTarget(
            name: "embed-files", dependencies: ["Brotli", "Gzip", "RenderDocs"], path: "Sources/Tools/embed-files",
            swiftSettings: swiftSettings
        ),
        .target(
            name: "RenderDocs",
            dependencies: ["JSONScanning", .product(name: "Mustache", package: "swift-mustache")],
            path: "Sources/Tools/RenderDocs",
            exclude: ["docs.mustache"],
            swiftSettings: swiftSettings
        ),
        .plugin(
            name: "EmbedFiles", capability: .buildTool(), dependencies: ["embed-files"],
            path: "Sources/Tools/EmbedFiles"),
    ],
    swiftLanguageModes: [.v6]
)

// The server needs Linux, and SwiftPM makes the tools of its build even for a package that uses the client alone. Elsewhere, or
// with this variable in the environment, there is nothing but the client.
#if os(Linux)
    let isClientAlone = Context.environment["THERAPYBRIDGE_CLIENT_ALONE"] != nil
#else
    let isClientAlone = true
#endif
if isClientAlone {
    package.products.removeAll { $0.name != "TherapyBridgeClient" }
    package.targets.removeAll { $0.name != "TherapyBridgeClient" }
}
