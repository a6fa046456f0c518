import Foundation

/// The compatibility mappings of Unicode, which Foundation has and the program does without.
enum CompatibilityMappings {
    /// A line for each scalar whose compatibility decomposition differs from the canonical one: the scalar, a semicolon and
    /// its full decomposition.
    static var text: String {
        var text = ""
        for scalar in (UInt32(0)...0x10FFFF).compactMap(Unicode.Scalar.init) {
            if [.unassigned, .privateUse].contains(scalar.properties.generalCategory) { continue }
            let source = String(scalar)
            let mapping = source.decomposedStringWithCompatibilityMapping.unicodeScalars
            if mapping.elementsEqual(source.decomposedStringWithCanonicalMapping.unicodeScalars) { continue }
            text += "\(code(scalar));\(mapping.map(code).joined(separator: " "))\n"
        }
        return text
    }

    private static func code(_ scalar: Unicode.Scalar) -> String { String(scalar.value, radix: 16, uppercase: true) }
}
