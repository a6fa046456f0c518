/**
 * JSON whose objects become Maps. A JavaScript object puts names that look like numbers first, and the order of notes is that in
 * which they were stored.
 */

/** Parses valid JSON, as the server sends it. */
export function parseOrdered(text) {
    const tokens = text.match(/"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g) ?? [];
    let index = 0;
    const value = () => {
        const token = tokens[index++];
        if (token === "{") {
            const map = new Map();
            while (tokens[index] !== "}") {
                const name = JSON.parse(tokens[index]);
                index += 2; // the name and its colon
                map.set(name, value());
                if (tokens[index] === ",") index += 1;
            }
            index += 1;
            return map;
        }
        if (token === "[") {
            const items = [];
            while (tokens[index] !== "]") {
                items.push(value());
                if (tokens[index] === ",") index += 1;
            }
            index += 1;
            return items;
        }
        return JSON.parse(token);
    };
    return value();
}

/** The JSON of such a value. */
export function writeOrdered(value) {
    if (value instanceof Map) return `{${[...value].map(([name, inner]) => `${JSON.stringify(name)}:${writeOrdered(inner)}`).join(",")}}`;
    if (Array.isArray(value)) return `[${value.map(writeOrdered).join(",")}]`;
    return JSON.stringify(value);
}
