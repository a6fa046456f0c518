"""Stands in for faster-whisper 1.2: the calls, values and errors that its stage uses, without a model."""
import dataclasses
import os
import warnings


@dataclasses.dataclass
class Segment:
    id: int
    seek: int
    start: float
    end: float
    text: str


@dataclasses.dataclass
class TranscriptionInfo:
    language: str
    language_probability: float
    duration: float
    duration_after_vad: float


class WhisperModel:
    def __init__(self, model_size_or_path, device="auto", device_index=0, compute_type="default", **rest):
        # The package and its libraries print on both outputs.
        print("Downloading model.bin:  50%|#####     | 1/2\rDownloading model.bin: 100%|##########| 2/2")
        warnings.warn("float16 is not supported")
        if os.environ.get("WHISPER_STANDIN") == "broken":
            raise RuntimeError("Unable to open file 'model.bin'")

    def transcribe(self, audio, language=None, vad_filter=False, **rest):
        if language not in (None, "en", "de"):
            raise ValueError(f"'{language}' is not a valid language code (accepted language codes: de, en)")
        failures = {
            "cublas": RuntimeError("Library libcublas.so.12 is not found or cannot be loaded"),
            "cuda": RuntimeError("CUDA failed with error out of memory"),
            "memory": MemoryError("Unable to allocate 8.00 GiB"),
            "other": RuntimeError("Invalid input features shape"),
        }
        moment, _, failure = os.environ.get("WHISPER_STANDIN", "").partition(" ")
        if moment == "first":
            raise failures[failure]
        with open(audio, "rb") as file:
            if file.read(4) not in (b"RIFF", b"OggS"):
                # PyAV's InvalidDataError is a ValueError.
                raise ValueError(f"[Errno 1094995529] Invalid data found when processing input: '{audio}'")
        said = [(0.0, 8.08, ' And so my fellow "Americans", ask not'), (8.08, 13.0, " what your country can do, Müller.")]
        if os.environ.get("WHISPER_STANDIN") == "silence":
            said = []

        def segments():
            for number, (start, end, text) in enumerate(said, 1):
                if moment == "later" and number > 1:
                    raise failures[failure]
                yield Segment(number, 0, start, end, text)

        return segments(), TranscriptionInfo(language or "en", 0.98, 11.0, 11.0)
