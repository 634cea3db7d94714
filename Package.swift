// swift-tools-version: 6.2
//  The targets of Martlet and what each may import: only downwards. There are no package
//  dependencies; everything comes from this repository, the toolchain, or the C library.

import PackageDescription

let settings: [SwiftSetting] = [
    .strictMemorySafety(),
    .swiftLanguageMode(.v6),
    .enableExperimentalFeature("Lifetimes"),
]

let package = Package(
    name: "martlet",
    products: [
        .executable(name: "martlet", targets: ["martlet"]),
        .executable(name: "martlet-benchmark", targets: ["martlet-benchmark"]),
        .library(name: "Martlet", targets: ["MartletServer"]),
    ],
    targets: [
        .target(name: "CSystem"),
        // Debian's libluajit-5.1-dev, statically: the server starts where it is not installed.
        .target(
            name: "CLuaShim",
            linkerSettings: [
                .linkedLibrary(":libluajit-5.1.a"), .linkedLibrary("m"), .linkedLibrary("dl"),
            ]),
        .target(name: "MartletLua", dependencies: ["CLuaShim"], swiftSettings: settings),
        .target(name: "MartletBase", dependencies: ["CSystem"], swiftSettings: settings),
        .target(
            name: "MartletEngine", dependencies: ["MartletLua", "MartletBase", "CSystem"],
            swiftSettings: settings),
        .target(
            name: "MartletTransport", dependencies: ["MartletBase", "CSystem"],
            swiftSettings: settings),
        .target(
            name: "MartletPersistence", dependencies: ["MartletEngine", "MartletBase", "CSystem"],
            swiftSettings: settings),
        .target(
            name: "MartletServer",
            dependencies: [
                "MartletPersistence", "MartletEngine", "MartletTransport", "MartletBase", "CSystem",
            ],
            swiftSettings: settings),
        .executableTarget(
            name: "martlet", dependencies: ["MartletServer", "MartletBase", "CSystem"],
            swiftSettings: settings),
        .target(
            name: "LoadGenerator", dependencies: ["MartletBase", "CSystem"],
            path: "Benchmarks/LoadGenerator", swiftSettings: settings),
        .target(
            name: "CacheSimulator", dependencies: ["LoadGenerator"],
            path: "Benchmarks/CacheSimulator", swiftSettings: settings),
        .executableTarget(
            name: "martlet-benchmark", dependencies: ["LoadGenerator", "CacheSimulator"],
            path: "Benchmarks/Load", swiftSettings: settings),
        .executableTarget(
            name: "martlet-micro", dependencies: ["MartletEngine", "MartletBase", "CSystem"],
            path: "Benchmarks/Micro", swiftSettings: settings),
        .testTarget(name: "BaseTests", dependencies: ["MartletBase"], swiftSettings: settings),
        .testTarget(
            name: "LuaTests", dependencies: ["MartletLua"], swiftSettings: settings),
        .testTarget(
            name: "EngineTests", dependencies: ["MartletEngine", "MartletBase"],
            swiftSettings: settings),
        .testTarget(
            name: "TransportTests", dependencies: ["MartletTransport", "MartletBase", "CSystem"],
            swiftSettings: settings),
        .testTarget(
            name: "PersistenceTests",
            dependencies: ["MartletPersistence", "MartletEngine", "MartletBase"],
            swiftSettings: settings),
        .testTarget(
            name: "ServerTests", dependencies: ["MartletServer", "MartletEngine", "MartletBase"],
            exclude: ["Samples"],
            swiftSettings: settings),
        .testTarget(
            name: "BenchmarkTests", dependencies: ["LoadGenerator", "CacheSimulator"],
            swiftSettings: settings),
        .testTarget(
            name: "TidyTests", dependencies: ["MartletServer", "MartletEngine"],
            swiftSettings: settings),
    ]
)
