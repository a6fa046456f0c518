"""The faults again and again in random order, and what must not grow meanwhile: memory, descriptors, delays."""
import re
import statistics
import time

# Seconds between two notes of memory, descriptors and delays.
NOTE = 60
# What the last third of a soak may have more than the third before it: bytes, descriptors, and factors.
MORE_MEMORY, MEMORY_FACTOR, MORE_DESCRIPTORS = 8 << 20, 1.2, 20
MORE_DELAY, DELAY_FACTOR = 0.05, 2


def seconds(text):
    """8h, 90m or 300 as seconds."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text)
    if not found:
        raise ValueError(text)
    return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]]


class Soak:
    """Runs until its time is over, or a promise is broken."""

    def __init__(self, world, chosen, chance, duration, one_fault):
        self.world, self.chosen, self.chance, self.one_fault = world, chosen, chance, one_fault
        self.begin = time.monotonic()
        self.end = self.begin + duration
        # Of the witness: seconds, memory, descriptors. Of quiet times: seconds, median delay.
        self.notes, self.delays = [], []
        self.counts, self.transitions, self.next_note = {}, 0, 0

    async def run(self):
        """Returns what went wrong."""
        waiting = []
        while time.monotonic() < self.end:
            if not waiting:
                waiting = list(self.chosen)
                self.chance.shuffle(waiting)
            fault = waiting.pop()
            result = await self.one_fault(self.world, fault)
            if result["wrong"]:
                return [f"{fault.name}: {wrong}" for wrong in result["wrong"]]
            self.counts[fault.name] = self.counts.get(fault.name, 0) + 1
            self.transitions += result["verdict"].transitions
            if fault.name == "none":
                self.delays.append((self.age, result["verdict"].median))
            self.note(result["verdict"])
        return self.growth()

    @property
    def age(self):
        return time.monotonic() - self.begin

    def note(self, verdict):
        if self.age < self.next_note:
            return
        self.next_note = self.age + NOTE
        witness = self.world.witness
        self.notes.append((self.age, witness.memory(), witness.descriptors()))
        words = [f"{self.age / 60:6.1f} min, {sum(self.counts.values())} faults, {self.transitions} transitions, "
                 f"delay: median {verdict.median * 1000:.0f} ms"]
        for server in [witness, *self.world.servers]:
            words.append(f"{server.name} {server.memory() / 1e6:.1f} MB, {server.descriptors()} descriptors")
        print("; ".join(words), flush=True)

    def growth(self):
        """What grew from the second third of the soak to the last one. The first third warms up."""
        wrong = []
        before, after = thirds([(age, memory) for age, memory, _ in self.notes])
        if before and statistics.median(after) > statistics.median(before) * MEMORY_FACTOR + MORE_MEMORY:
            wrong.append(f"the memory of the witness grew: {before} {after}")
        before, after = thirds([(age, count) for age, _, count in self.notes])
        if before and min(after) > min(before) + MORE_DESCRIPTORS:
            wrong.append(f"the descriptors of the witness grew: {before} {after}")
        before, after = thirds(self.delays)
        if before and statistics.median(after) > statistics.median(before) * DELAY_FACTOR + MORE_DELAY:
            wrong.append(f"the delays without a fault grew: {before} {after}")
        return wrong

    def summary(self):
        lines = [f"{count:5} x {name}" for name, count in sorted(self.counts.items())]
        return "\n".join(lines + [f"{self.transitions} transitions in {self.age / 60:.0f} min"])


def thirds(series):
    """The values of the second and of the last third; empty ones if there are fewer than six."""
    if len(series) < 6:
        return [], []
    values = [value for _, value in series]
    third = len(values) // 3
    return values[third:-third], values[-third:]
