//  Passing over values without making them: keys that are past their deadline, and finding where one
//  key ends and the next begins.
//
//  Only what says how long things are is read; whether they are right is found by who reads them.

import MartletBase
import MartletEngine

extension RDBInput {
    /// Passes over a value of a type.
    mutating func skip(valueOf type: RDBType, isValkey: Bool) throws(RDBError) {
        switch type {
        case .string, .listZiplist, .setIntset, .setListpack, .zsetZiplist, .zsetListpack,
            .hashZipmap, .hashZiplist, .hashListpack, .hashListpackExOfCandidate:
            try skipString()
        case .hashListpackEx:
            try skip(8)
            try skipString()
        case .list, .set, .listQuicklist: try skipStrings(try count())
        case .listQuicklist2:
            let nodes = try count()
            for _ in 0..<nodes {
                _ = try number()
                try skipString()
            }
        case .hash:
            let fields = try count()
            for _ in 0..<fields { try skipStrings(2) }
        case .zset, .zset2:
            let members = try count()
            for _ in 0..<members {
                try skipString()
                if type == .zset2 {
                    try skip(8)
                } else {
                    let length = try byte()
                    if length < RDBFormat.zsetDoubleNaN { try skip(Int(length)) }
                }
            }
        case .hashMetadata, .hashMetadataOfCandidate:
            let isValkeys = type == .hashMetadataOfCandidate && isValkey
            if type == .hashMetadata { try skip(8) }
            let fields = try count()
            for _ in 0..<fields {
                if !isValkeys { _ = try number() }
                try skipStrings(2)
                if isValkeys { try skip(8) }
            }
        case .stream, .stream2, .stream3, .stream4, .stream5: try skipStream(type)
        case .module: throw damaged("a value of a module of Redis 4.0 candidates")
        case .module2:
            _ = try number()
            try skipModule()
        }
    }

    private mutating func skipStrings(_ count: Int) throws(RDBError) {
        for _ in 0..<count { try skipString() }
    }

    private mutating func skipNumbers(_ count: Int) throws(RDBError) {
        for _ in 0..<count { _ = try number() }
    }

    private mutating func skipStream(_ type: RDBType) throws(RDBError) {
        let blocks = try count()
        for _ in 0..<blocks { try skipStrings(2) }
        try skipNumbers(type == .stream ? 3 : 8)
        let groups = try count()
        for _ in 0..<groups {
            try skipString()
            try skipNumbers(type == .stream ? 2 : 3)
            let pending = try count()
            for _ in 0..<pending {
                try skip(24)
                _ = try number()
            }
            let consumers = try count()
            for _ in 0..<consumers {
                try skipString()
                try skip(type == .stream || type == .stream2 ? 8 : 16)
                let held = try count()
                for _ in 0..<held { try skip(16) }
            }
            if type == .stream5 {
                let released = try count()
                for _ in 0..<released { try skip(16) }
            }
        }
        if type == .stream4 || type == .stream5 {
            try skipNumbers(2)
            let producers = try count()
            for _ in 0..<producers {
                try skipString()
                let entries = try count()
                for _ in 0..<entries {
                    try skipString()
                    try skipNumbers(2)
                }
            }
            try skipNumbers(2)
        }
    }

    /// What a module has written says itself what it is, part by part.
    mutating func skipModule() throws(RDBError) {
        while true {
            switch try number() {
            case 0: return
            case 1, 2: _ = try number()
            case 3: try skip(4)
            case 4: try skip(8)
            case 5: try skipString()
            default: throw damaged("no such part of what a module writes")
            }
        }
    }
}
