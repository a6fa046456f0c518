"""Makes the recordings of the test set: every container, codec and odd shape that ffmpeg can write."""
import dataclasses
import pathlib
import struct
import subprocess

# Seconds of speech in each recording.
SECONDS = 3.0
# Codecs that no accepted format needs. A file with such sound is refused.
FOREIGN_CODECS = {"ac3", "eac3", "dca", "wmav2", "truehd", "wavpack", "tta"}


@dataclasses.dataclass
class Recording:
    path: pathlib.Path
    # The shortest and the longest right length.
    seconds: tuple = (SECONDS - 0.3, SECONDS + 0.3)
    # True if the recording was cut and announces its whole length, False if it is complete, None if either is right.
    is_cut: bool | None = False
    may_be_refused: bool = False
    must_be_refused: bool = False

    @property
    def name(self):
        return self.path.name


# The codecs of each container, by the extension.
CONTAINERS = {
    "mp3": ["libmp3lame"],
    "wav": ["pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_f64le", "pcm_alaw", "pcm_mulaw", "adpcm_ms",
            "adpcm_ima_wav", "libgsm_ms", "libmp3lame", "mp2", "ac3"],
    "m4a": ["aac", "alac", "ac3"],
    "mp4": ["aac", "alac", "libmp3lame", "mp2", "flac", "libopus", "libvorbis", "ac3", "eac3", "dca", "truehd"],
    "mov": ["aac", "alac", "pcm_s16le", "pcm_s16be", "pcm_s24be", "pcm_f32le", "pcm_alaw", "pcm_mulaw", "adpcm_ima_qt",
            "libmp3lame", "ac3", "libgsm"],
    "3gp": ["aac"],
    "webm": ["libopus", "libvorbis"],
    "mka": ["libopus", "libvorbis", "flac", "aac", "libmp3lame", "mp2", "alac", "pcm_s16le", "pcm_s24be", "pcm_f32le", "ac3",
            "eac3", "dca", "truehd", "wavpack", "tta", "wmav2", "libspeex", "adpcm_ms"],
    "ogg": ["libvorbis", "libopus", "flac", "libspeex"],
    "opus": ["libopus"],
    "oga": ["flac", "libvorbis"],
    "flac": ["flac"],
    "aac": ["aac"],
    "aiff": ["pcm_s8", "pcm_s16be", "pcm_s24be", "pcm_s32be", "pcm_f32be", "pcm_f64be", "pcm_alaw", "pcm_mulaw", "adpcm_ima_qt"],
    "caf": ["pcm_s16be", "pcm_s16le", "pcm_s24be", "pcm_f32le", "pcm_alaw", "pcm_mulaw", "alac", "adpcm_ima_qt", "libopus"],
}

# Shapes that every codec may have, if ffmpeg can write them.
SHAPES = {
    "plain": ["-ar", "16000", "-ac", "1"],
    "stereo-44100": ["-ar", "44100", "-ac", "2"],
}

# Shapes of more than two channels, which these codecs do not have. ffmpeg would drop the channel with the voice.
SURROUND_SHAPES = {"lfe-only", "surround-back", "quad"}
STEREO_CODECS = {"libmp3lame"}

# Further shapes of one codec of each container: the first.
ODD_SHAPES = {
    "opposite-sides": ["-ar", "48000", "-af", "pan=stereo|c0=c0|c1=-1*c0"],
    "right-side-only": ["-ar", "48000", "-af", "pan=stereo|c1=c0"],
    "lfe-only": ["-ar", "48000", "-af", "pan=5.1|c3=c0"],
    "surround-back": ["-ar", "48000", "-af", "pan=7.1|c7=c0"],
    "quad": ["-ar", "48000", "-af", "pan=quad|c2=c0"],
    "rate-8000": ["-ar", "8000", "-ac", "1"],
    "rate-11025": ["-ar", "11025", "-ac", "1"],
    "rate-22050": ["-ar", "22050", "-ac", "1"],
    "rate-96000": ["-ar", "96000", "-ac", "1"],
    "rate-11111": ["-ar", "11111", "-ac", "1"],
    "title": ["-ar", "16000", "-ac", "1", "-metadata", "title=Sitzung mit Frau Müller", "-metadata", "comment=" + "x" * 5000],
}


def one_behind_another(content):
    """Moves the samples of the tracks of an MP4 file, so that each track stands behind the one before.

    Returns the file, and where its first track ends. The index has to stand in front of the samples.
    """
    samples = content.index(b"mdat") + 4
    old, new, ends = content, bytearray(content[:samples]), []
    place = 0
    while (place := old.find(b"stsc", place, samples)) >= 0:
        (runs,) = struct.unpack_from(">I", old, place + 8)
        chunks_of = [struct.unpack_from(">II", old, place + 12 + 12 * run) for run in range(runs)]
        place = old.index(b"stsz", place)
        (count,) = struct.unpack_from(">I", old, place + 12)
        sizes = iter(struct.unpack_from(f">{count}I", old, place + 16))
        place = old.index(b"stco", place)
        (count,) = struct.unpack_from(">I", old, place + 8)
        for chunk, begin in enumerate(struct.unpack_from(f">{count}I", old, place + 12)):
            per_chunk = [number for first, number in chunks_of if first <= chunk + 1][-1]
            length = sum(size for _, size in zip(range(per_chunk), sizes))
            struct.pack_into(">I", new, place + 12 + 4 * chunk, len(new))
            new += old[begin : begin + length]
        ends.append(len(new))
    assert len(new) == len(old), "the samples of both tracks are the whole rest of the file"
    return bytes(new), ends[0]


class Maker:
    def __init__(self, folder, speech):
        self.folder, self.speech = folder, speech
        self.recordings = []

    def ffmpeg(self, name, *arguments):
        """Makes a file. Returns None if ffmpeg cannot write it."""
        path = self.folder / name
        made = subprocess.run(
            ["ffmpeg", "-nostdin", "-v", "quiet", "-y", *arguments, "-strict", "-2", path], stdin=subprocess.DEVNULL,
            timeout=120)
        if made.returncode == 0 and path.exists() and path.stat().st_size > 0:
            return path
        path.unlink(missing_ok=True)
        return None

    def speak(self, name, *arguments):
        return self.ffmpeg(name, "-t", f"{SECONDS}", "-i", self.speech, *arguments)

    def add(self, path, **expected):
        if path:
            self.recordings.append(Recording(path, **expected))
        return path

    def write(self, name, content, **expected):
        path = self.folder / name
        path.write_bytes(content)
        return self.add(path, **expected)

    # Containers, codecs and shapes

    def add_matrix(self):
        for container, codecs in CONTAINERS.items():
            for codec in codecs:
                shapes = dict(SHAPES)
                if codec == codecs[0]:
                    shapes |= ODD_SHAPES
                for shape, arguments in shapes.items():
                    if shape in SURROUND_SHAPES and codec in STEREO_CODECS:
                        continue
                    name = f"{container}-{codec}-{shape}.{container}"
                    self.add(
                        self.speak(name, *arguments, "-c:a", codec), must_be_refused=codec in FOREIGN_CODECS,
                        may_be_refused=codec in FOREIGN_CODECS)

    # Ends

    def add_cuts(self):
        announcing = {
            "faststart.m4a": ["-c:a", "aac", "-movflags", "+faststart"], "cut.flac": [], "cut.wav": [], "cut.aiff": [],
            "cut.mp3": [], "cut.caf": ["-c:a", "pcm_s16be"], "cut.mka": ["-c:a", "flac"], "rf64.wav": ["-rf64", "always"],
            "cut.webm": ["-c:a", "libopus"],
        }
        for name, arguments in announcing.items():
            whole = self.speak(f"whole-{name}", "-ar", "48000", *arguments)
            for share in (0.7, 0.5, 0.3):
                self.cut(whole, f"cut-{share}-{name}", share, is_cut=True)
            self.add(whole)
        silent = {
            "cut.ogg": [], "cut.aac": [], "cut-fragments.mp4": ["-c:a", "aac", "-movflags", "frag_keyframe+empty_moov"],
            "index-at-the-end.m4a": ["-c:a", "aac"],
        }
        for name, arguments in silent.items():
            whole = self.speak(f"whole-{name}", "-ar", "48000", *arguments)
            self.cut(whole, f"half-{name}", 0.5, is_cut=None, may_be_refused=True)
            self.add(whole)

    def cut(self, whole, name, share, is_cut, **expected):
        content = whole.read_bytes()
        self.write(name, content[: int(len(content) * share)], seconds=(0.1, SECONDS * share + 0.9), is_cut=is_cut, **expected)

    def add_beginnings(self):
        """Files that are nothing but the beginning of a recording."""
        for container, codecs in CONTAINERS.items():
            whole = self.speak(f"beginning-of.{container}", "-ar", "48000", "-c:a", codecs[0])
            content = whole.read_bytes()
            whole.unlink()
            for size in (0, 20, 200):
                self.write(
                    f"first-{size}-bytes.{container}", content[:size], seconds=(0, 0.5), is_cut=None, may_be_refused=True)
            self.write(
                f"zeros-after-header.{container}", content[:600] + bytes(30_000), seconds=(0, 60), is_cut=None,
                may_be_refused=True)

    # Lengths

    def add_lengths(self):
        pcm = self.speak("length.wav", "-ar", "16000", "-ac", "1")
        content = pcm.read_bytes()
        pcm.unlink()
        data = content.index(b"data") + 4
        for size in (0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000, 0, 1_000):
            changed = bytearray(content)
            changed[4:8] = changed[data : data + 4] = size.to_bytes(4, "little")
            self.write(f"streamed-{size:08x}.wav", bytes(changed))
        changed = bytearray(content)
        changed[data : data + 4] = (len(content) * 10).to_bytes(4, "little")
        self.write("announces-more.wav", bytes(changed), is_cut=True)
        self.add(self.speak("no-xing.mp3", "-write_xing", "0", "-id3v2_version", "0", "-q:a", "9"))
        self.add(self.speak("no-xing-constant.mp3", "-write_xing", "0", "-id3v2_version", "0", "-b:a", "8k", "-ar", "16000"))
        self.add(self.speak("tag-3.mp3", "-id3v2_version", "3", "-write_id3v1", "1"))
        self.add(self.speak("live.webm", "-c:a", "libopus", "-live", "1"))
        self.add(self.speak("live.mka", "-c:a", "flac", "-live", "1"))
        self.add(self.speak("fragments.mp4", "-c:a", "aac", "-movflags", "frag_keyframe+empty_moov+default_base_moof"))
        self.add(self.speak("dash.mp4", "-c:a", "aac", "-movflags", "dash+faststart", "-frag_duration", "500000"))
        flac = bytearray(self.speak("length.flac").read_bytes())
        (self.folder / "length.flac").unlink()
        # The number of samples in STREAMINFO: 36 bits from the 21st byte on.
        flac[21], flac[22:26] = flac[21] & 0xF0, bytes(4)
        self.write("unknown-length.flac", bytes(flac))
        m4a = self.speak("length.m4a", "-c:a", "aac", "-ar", "16000")
        content = bytearray(m4a.read_bytes())
        m4a.unlink()
        for box, offset in ((b"mvhd", 20), (b"mdhd", 20), (b"tkhd", 24)):
            place = content.index(box) + offset
            content[place : place + 4] = (0x7FFFFFF).to_bytes(4, "big")
        self.write("announces-hours.m4a", bytes(content), is_cut=None)
        self.write("junk-before.mp3", bytes(1_500) + self.speak("junk.mp3", "-id3v2_version", "0").read_bytes())
        (self.folder / "junk.mp3").unlink()

    def add_chains(self):
        for codec in ("libvorbis", "libopus", "flac", "libspeex"):
            links = [self.speak(f"link-{number}.ogg", "-c:a", codec, "-ac", f"{1 + number % 2}") for number in range(2)]
            if None in links:
                continue
            content = b"".join(link.read_bytes() for link in links)
            for link in links:
                link.unlink()
            self.write(f"chain-{codec}.ogg", content, seconds=(2 * SECONDS - 0.4, 2 * SECONDS + 0.4))
        # Recordings that a program has joined by their bytes.
        for extension, arguments in {"mp3": [], "aac": []}.items():
            part = self.speak(f"part.{extension}", *arguments)
            content = part.read_bytes() * 2
            part.unlink()
            self.write(f"joined.{extension}", content, seconds=(2 * SECONDS - 0.4, 2 * SECONDS + 0.6))

    # Tracks and channels

    def add_tracks(self):
        silence = ["-f", "lavfi", "-t", f"{SECONDS - 1}", "-i", "anullsrc=r=16000:cl=mono"]
        for container, codec in {
            "m4a": "aac", "mp4": "aac", "mov": "pcm_s16le", "mka": "flac", "webm": "libopus", "3gp": "aac", "ogg": "libvorbis",
        }.items():
            for count in (2, 5, 16, 17):
                inputs = [*silence] + ["-t", f"{SECONDS}", "-i", self.speech]
                maps = ["-map", "0:a"] * (count - 1) + ["-map", "1:a"]
                self.add(
                    self.ffmpeg(f"tracks-{count}.{container}", *inputs, *maps, "-c:a", codec), may_be_refused=count > 16,
                    must_be_refused=count > 16)
            self.add(
                self.ffmpeg(
                    f"late-track.{container}", *silence, "-itsoffset", "1", "-t", "2", "-i", self.speech, "-map", "0:a", "-map",
                    "1:a", "-c:a", codec))
            film = ["-f", "lavfi", "-t", "5", "-i", "testsrc=s=64x64:r=5", "-t", f"{SECONDS}", "-i", self.speech]
            for video in ("mpeg4", "libvpx", "libx264", "libtheora"):
                self.add(self.ffmpeg(f"film-{video}.{container}", *film, "-c:v", video, "-c:a", codec))
            self.add(
                self.ffmpeg(f"no-sound.{container}", "-f", "lavfi", "-t", "1", "-i", "testsrc=s=64x64", "-c:v", "libvpx"),
                must_be_refused=True, may_be_refused=True)
        # Recorders store the tracks in turns. Here, the second one stands behind the first, and a cut shortens it alone.
        tracks = ["-t", f"{SECONDS}", "-i", self.speech, *silence[:3], f"{SECONDS}", *silence[4:], "-map", "1:a", "-map", "0:a"]
        turns = self.ffmpeg("turns.m4a", *tracks, "-c:a", "aac", "-movflags", "+faststart")
        content, end_of_first = one_behind_another(turns.read_bytes())
        turns.unlink()
        self.write("one-behind-another.m4a", content)
        self.write("one-behind-another-cut.m4a", content[: (end_of_first + len(content)) // 2], is_cut=True)
        # The index of the last track needs more memory than one of 16 decoders has. A frame of AMR without sound has one byte.
        long = self.folder / "long.amr"
        long.write_bytes(b"#!AMR\n" + b"\x7c" * 400_000)
        maps = ["-map", "0:a"] * 15 + ["-map", "1:a"]
        self.add(
            self.ffmpeg(
                "index-without-memory.mov", "-t", f"{SECONDS}", "-i", self.speech, "-i", long, *maps, "-c:a", "aac", "-c:a:15",
                "copy"), must_be_refused=True, may_be_refused=True)
        long.unlink()
        self.add(
            self.ffmpeg(
                "cover.mp3", "-t", f"{SECONDS}", "-i", self.speech, "-f", "lavfi", "-t", "0.04", "-i", "testsrc=s=64x64", "-map",
                "0:a", "-map", "1:v"))

    def add_channels(self):
        content = self.speak("channels.wav", "-ar", "16000", "-ac", "1")
        samples = content.read_bytes()[-int(SECONDS * 32_000):]
        content.unlink()
        for count in (3, 9, 10, 17, 40, 64, 65, 200):
            for place in {0, count - 1}:
                frames = bytearray(len(samples) * count)
                for byte in (0, 1):
                    frames[2 * place + byte :: 2 * count] = samples[byte::2]
                self.write(
                    f"channel-{place + 1}-of-{count}.wav", wave(count, 16_000, bytes(frames)), may_be_refused=count > 64,
                    must_be_refused=count > 64)
        for rate in (1, 20, 1_000, 3_999):
            self.write(f"rate-{rate}.wav", wave(1, rate, bytes(1_200)), must_be_refused=True, may_be_refused=True)
        for rate in (4_000, 8_000, 192_000):
            self.add(self.speak(f"rate-{rate}.wav", "-ar", f"{rate}", "-ac", "1"))

    # What is no recording

    def add_foreign(self):
        self.write("text.mp3", b"This is a text.\n" * 100, must_be_refused=True, may_be_refused=True)
        self.write("page.m4a", b"<!DOCTYPE html><html></html>" * 20, must_be_refused=True, may_be_refused=True)
        self.write("document.wav", b"%PDF-1.7\n" + bytes(2_000), must_be_refused=True, may_be_refused=True)
        self.write("archive.ogg", b"PK\x03\x04" + bytes(2_000), must_be_refused=True, may_be_refused=True)
        for extension in ("w64", "wma", "avi", "mkv", "au", "wv", "tta", "mpg", "ts"):
            self.add(self.speak(f"foreign.{extension}"), must_be_refused=True, may_be_refused=True)

    def add_amr(self):
        """ffmpeg has no encoder. A frame of silence has 13 bytes at 12.2 kbit/s, 24 at 8.85 (wide band)."""
        for name, head, frame in (
            ("silence.amr", b"#!AMR\n", b"\x3c" + bytes(31)), ("silence-wide.amr", b"#!AMR-WB\n", b"\x0c" + bytes(23)),
        ):
            # Silence has no words, which is a refusal in the end.
            self.write(name, head + frame * 150, may_be_refused=True)
        folder = pathlib.Path(__file__).resolve().parent
        for name in ("speech.amr", "speech-wide.amr"):
            spoken = folder / name
            self.write(name, spoken.read_bytes())
            for extension in ("3gp", "mov"):
                self.add(self.ffmpeg(f"{spoken.stem}-in.{extension}", "-i", spoken, "-c", "copy"))

    # Names and beginnings of other formats

    def add_disguises(self):
        """Recordings whose name or beginning is that of another format."""
        def made(name, *arguments):
            path = self.speak(name, *arguments)
            content = path.read_bytes()
            path.unlink()
            return content
        flac, mp4, pcm = made("a.flac"), made("a.mp4", "-c:a", "aac"), made("a.wav", "-ar", "16000")
        long = made("b.wav", "-ar", "16000", "-rf64", "always")
        # A tag of ID3v2.3 with 2,000 bytes: the size has seven bits in each byte.
        self.write("behind-a-tag.flac", b"ID3\x03\0\0" + bytes([0, 0, 2000 >> 7, 2000 & 127]) + b"A" * 2000 + flac)
        self.write("an-mp4.mp3", mp4)
        self.write("a-wav.m4a", pcm)
        self.write("broadcast.wav", b"BW64" + long[4:])
        self.write("memo.qta", made("a.mov", "-c:a", "aac", "-ar", "48000"))
        self.write("lossless.qta", made("a.mov", "-c:a", "alac"))
        dts = made("a.mka", "-ar", "48000", "-ac", "2", "-c:a", "dca")
        self.write("dts.webm", dts.replace(b"matroska", b"webm\0\0\0\0", 1), must_be_refused=True, may_be_refused=True)


def wave(channels, rate, samples):
    """A WAV file with 16 bits a sample."""
    def little(number, count):
        return number.to_bytes(count, "little")
    form = little(1, 2) + little(channels, 2) + little(rate, 4) + little(rate * channels * 2, 4) + little(channels * 2, 2)
    body = b"WAVEfmt " + little(16, 4) + form + little(16, 2) + b"data" + little(len(samples), 4) + samples
    return b"RIFF" + little(len(body), 4) + body


def make_recordings(folder, speech):
    """Makes all files in a folder, and returns what has to become of each."""
    maker = Maker(folder, str(speech))
    for step in (
        maker.add_matrix, maker.add_cuts, maker.add_beginnings, maker.add_lengths, maker.add_chains, maker.add_tracks,
        maker.add_channels, maker.add_foreign, maker.add_amr, maker.add_disguises,
    ):
        step()
    return maker.recordings
