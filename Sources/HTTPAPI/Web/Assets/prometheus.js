/** Reads the text format of Prometheus, in which the server gives its figures. */

/** @returns {Metrics} the samples of a text. Lines that it does not understand are left out. */
export function parseMetrics(text) {
    const samples = [];
    for (const line of text.split("\n")) {
        const match = /^([a-z_:][\w:]*)(?:\{(.*)\})? (\S+)/i.exec(line);
        if (!match) continue;
        const labels = {};
        for (const [, name, value] of (match[2] ?? "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) labels[name] = value;
        samples.push({ name: match[1], labels, value: match[3] === "+Inf" ? Infinity : Number(match[3]) });
    }
    return new Metrics(samples);
}

/** The figures of one moment. */
export class Metrics {
    #samples;

    constructor(samples) {
        this.#samples = samples;
    }

    /** The samples of a metric whose labels match. */
    all(name, labels = {}) {
        return this.#samples.filter((sample) => sample.name === name
            && Object.entries(labels).every(([key, value]) => sample.labels[key] === value));
    }

    /** The sum of the samples, or null if there is none. */
    sum(name, labels) {
        const found = this.all(name, labels);
        return found.length ? found.reduce((sum, { value }) => sum + value, 0) : null;
    }

    /**
     * A quantile of a histogram, in the unit of its bounds, from what was counted since an earlier moment. It is the bound
     * of the bucket in which the quantile lies; null if nothing was counted.
     */
    quantile(name, share, labels, earlier = null) {
        const counts = new Map();
        for (const [metrics, sign] of [[this, 1], [earlier, -1]]) {
            for (const { labels: { le }, value } of metrics?.all(`${name}_bucket`, labels) ?? []) {
                const bound = le === "+Inf" ? Infinity : Number(le);
                counts.set(bound, (counts.get(bound) ?? 0) + sign * value);
            }
        }
        const total = counts.get(Infinity) ?? 0;
        if (total <= 0) return null;
        return [...counts].sort(([a], [b]) => a - b).find(([, count]) => count >= share * total)[0];
    }
}
