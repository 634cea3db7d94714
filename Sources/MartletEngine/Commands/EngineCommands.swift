//  The engine's own command groups, one line each. The server adds its administration commands.

/// All groups of the engine.
package enum EngineCommands {
    package static var groups: [CommandGroup] {
        [
            .authentication,
            .bitField,
            .bitRead,
            .bitWrite,
            .client,
            .introspection,
            .monitoring,
            .connection,
            .databases,
            .hashCounters,
            .hashRead,
            .hashSampling,
            .hashWrite,
            .keyExpiry,
            .keyInspection,
            .keyMoving,
            .keyRemoval,
            .keyScanning,
            .listMove,
            .listPop,
            .listPush,
            .listRead,
            .listWrite,
            .setOperations,
            .setRead,
            .setSampling,
            .setWrite,
            .sortedSetAdd,
            .sortedSetOperations,
            .sortedSetRange,
            .sortedSetRead,
            .sortedSetRemove,
            .sortedSetSampling,
            .stringChange,
            .stringComparison,
            .stringConditional,
            .stringCounters,
            .stringRead,
            .stringSet,
            .transactions,
        ]
    }
}
