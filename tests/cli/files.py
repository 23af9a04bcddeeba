# SPDX-License-Identifier: MIT
"""llmgpu inspect and devices, and files that cannot be used."""
import os
import struct
import tempfile
import unittest

from command import MODEL, CommandTest

SIZE = os.path.getsize(MODEL)


def string(data):
    return struct.pack("<Q", len(data)) + data


def gguf(*entries):
    """A GGUF file without tensors; an entry is (key, type number, bytes of the value)."""
    head = b"GGUF" + struct.pack("<IQQ", 3, 0, len(entries))
    return head + b"".join(string(key) + struct.pack("<I", kind) + value for key, kind, value in entries)


class TemporaryFiles(CommandTest):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def file(self, data, name="model.gguf"):
        path = os.path.join(self.folder.name, name)
        with open(path, "wb") as file:
            file.write(data)
        return path


class Inspect(TemporaryFiles):
    def test_bundled_model(self):
        model = self.json("inspect", MODEL, "--tensors")
        self.assertEqual(
            list(model),
            ["version", "file_bytes", "alignment", "n_metadata", "n_tensors", "n_params", "tensor_bytes", "metadata",
             "tensors"],
        )
        self.assertEqual(model["file_bytes"], SIZE)
        self.assertEqual(model["metadata"]["general.architecture"], "llama")
        self.assertEqual(len(model["metadata"]), model["n_metadata"])
        self.assertEqual(len(model["tensors"]), model["n_tensors"])
        self.assertEqual(sum(t["bytes"] for t in model["tensors"]), model["tensor_bytes"])
        tokens = model["metadata"]["tokenizer.ggml.tokens"]
        self.assertEqual((tokens["type"], tokens["count"], len(tokens["first"])), ("string", 2048, 16))
        embedding = next(t for t in model["tensors"] if t["name"] == "token_embd.weight")
        self.assertEqual(list(embedding), ["name", "type", "shape", "offset", "bytes"])
        self.assertEqual((embedding["type"], embedding["shape"]), ("Q8_0", [256, 2048]))
        self.assertEqual(embedding["bytes"], 256 * 2048 // 32 * 34)
        self.assertNotIn("tensors", self.json("inspect", MODEL))

    def test_text(self):
        text = self.good("inspect", MODEL)
        self.assertIn('general.architecture (string) = "llama"', text)
        self.assertRegex(text, r"tokenizer.ggml.tokens \(string\[2048\]\) = .* \.\.\.\n")
        self.assertNotIn("token_embd.weight", text)
        self.assertRegex(self.good("inspect", "--tensors", MODEL), r"token_embd.weight Q8_0 \[256, 2048\] at \d+, ")

    def test_values(self):
        path = self.file(gguf(
            (b"a.u8", 0, b"\xff"),
            (b"a.i8", 1, b"\xff"),
            (b"a.f32", 6, struct.pack("<f", 0.1)),
            (b"a.inf", 6, struct.pack("<f", float("inf"))),
            (b"a.bool", 7, b"\x01"),
            (b"a.u64", 10, struct.pack("<Q", 2**64 - 1)),
            (b"a.i64", 11, struct.pack("<q", -(2**63))),
            (b"a.f64", 12, struct.pack("<d", 0.1 + 0.2)),
            (b"a.text", 8, string(b'\xe2\x82\xac "quoted" \xff\x1b[2J\n')),
            (b"a.short", 9, struct.pack("<IQ3i", 5, 3, 1, -2, 3)),
            (b"a.long", 9, struct.pack("<IQ17I", 4, 17, *range(17))),
            (b"a.none", 9, struct.pack("<IQ", 4, 0)),
        ))
        self.assertEqual(self.json("inspect", path)["metadata"], {
            "a.u8": 255, "a.i8": -1, "a.f32": 0.1, "a.inf": None, "a.bool": True, "a.u64": float(2**64 - 1),
            "a.i64": -(2**63), "a.f64": 0.1 + 0.2, "a.text": '\u20ac "quoted" \ufffd\x1b[2J\n',
            "a.short": [1, -2, 3], "a.long": {"type": "u32", "count": 17, "first": list(range(16))}, "a.none": [],
        })
        text = self.good("inspect", path)
        self.assertIn("a.inf (f32) = inf\n", text)
        self.assertNotIn("\x1b", text)


class Devices(CommandTest):
    def test_list(self):
        devices = self.json("devices")
        self.assertEqual((devices[0]["id"], devices[0]["kind"]), ("cpu", "cpu"))
        for device in devices:
            self.assertEqual(list(device), ["id", "name", "kind", "driver", "threads", "memory_bytes"])
        lines = self.good("devices").splitlines()
        self.assertEqual([line.split()[0] for line in lines], [device["id"] for device in devices])


class BadFiles(TemporaryFiles):
    def each(self, path):
        """Calls that open `path`."""
        yield "run", "-m", path, "-p", "x", "--device", "cpu"
        yield "run", "-m", path, "-p", "x", "--device", "cpu", "--json"
        yield "chat", "-m", path, "--device", "cpu"
        yield "score", "-m", path, "--ids", "1 2", "--device", "cpu"
        yield "bench", "-m", path, "--device", "cpu"
        yield "tokenize", "-m", path, "x", "--json"
        yield "detokenize", "-m", path, "1"
        yield "inspect", path
        yield "inspect", path, "--json", "--tensors"

    def test_missing(self):
        for call in self.each(os.path.join(self.folder.name, "none.gguf")):
            self.assertIn("none.gguf", self.fails("LLMGPU_E_IO", *call))

    def test_folder(self):
        for call in self.each(self.folder.name):
            self.fails("LLMGPU_E_IO", *call)

    def test_not_gguf(self):
        for data in (b"", b"G", b"GGUF", b"GGML" + bytes(100), b"\x7fELF" * 100):
            for call in self.each(self.file(data)):
                self.fails("LLMGPU_E_FORMAT", *call)

    def test_truncated(self):
        with open(MODEL, "rb") as file:
            whole = file.read()
        for size in (5, 23, 24, 100, 1000, 50_000, SIZE // 4, SIZE // 2, SIZE - 4096, SIZE - 1):
            path = self.file(whole[:size])
            for call in (("run", "-m", path, "-p", "x", "--device", "cpu"), ("inspect", path, "--json")):
                self.fails("LLMGPU_E_FORMAT", *call)

    def test_unknown_architecture(self):
        path = self.file(gguf((b"general.architecture", 8, string(b"mystery"))))
        self.assertIn("mystery", self.fails("LLMGPU_E_UNSUPPORTED", "run", "-m", path, "-p", "x", "--device", "cpu"))
        self.assertEqual(self.json("inspect", path)["metadata"], {"general.architecture": "mystery"})

    def test_text_files(self):
        missing = os.path.join(self.folder.name, "none.txt")
        for command in ("run", "score"):
            for path, code in ((missing, "LLMGPU_E_IO"), (self.folder.name, "LLMGPU_E_IO"),
                               (self.file(b"\xff", "bad.txt"), "LLMGPU_E_INVALID")):
                self.assertIn(path, self.fails(code, command, "-m", MODEL, "-f", path, "--device", "cpu"))


class Adapters(TemporaryFiles):
    NAME = "blk.0.attn_q.weight"

    def adapter(self, name="adapter.gguf"):
        """One of rank 1 for a matrix of the bundled model, as a path."""
        tensors = self.json("inspect", MODEL, "--tensors")["tensors"]
        n_in, n_out = next(t["shape"] for t in tensors if t["name"] == self.NAME)
        texts = ((b"general.type", b"adapter"), (b"adapter.type", b"lora"), (b"general.architecture", b"llama"))
        head = b"GGUF" + struct.pack("<IQQ", 3, 2, len(texts) + 1)
        head += b"".join(string(key) + struct.pack("<I", 8) + string(value) for key, value in texts)
        head += string(b"adapter.lora.alpha") + struct.pack("<If", 6, 1)
        data = b""
        for end, cols, rows in ((b".lora_a", n_in, 1), (b".lora_b", 1, n_out)):
            head += string(self.NAME.encode() + end) + struct.pack("<IQQIQ", 2, cols, rows, 0, len(data))
            data += struct.pack(f"<{cols * rows}f", *(0.3 * (-1) ** (i % 3) for i in range(cols * rows)))
            data += bytes(-len(data) % 32)
        return self.file(head + bytes(-len(head) % 32) + data, name)

    def nll(self, *options):
        return self.json("score", "-m", MODEL, "--device", "cpu", "--ids", "5 6 7 8", *options)["nll"]

    def test_scales(self):
        path = self.adapter()
        plain, trained, less = self.nll(), self.nll("--lora", path), self.nll("--lora", path + "=-0.5")
        self.assertEqual(self.nll("--lora", path + "=1"), trained)
        self.assertEqual(self.nll("--lora", path + "=0"), plain)
        self.assertEqual(len({plain, trained, less}), 3)

    def test_run(self):
        path = self.adapter()
        answers = {tuple(self.run_json("-p", "<|im_start|>", "-n", "24", "--lora", f"{path}={scale}")["tokens"])
                   for scale in (0, 10, -10)}
        self.assertGreater(len(answers), 1)

    def test_bench(self):
        path = self.adapter()
        call = ("bench", "-m", MODEL, "--device", "cpu", "--sequences", "3", "-p", "4", "-n", "2", "-r", "1", "--json")
        self.assertEqual(self.json(*call)[0]["adapters"], 0)
        found, = self.json(*call, "--lora", path, "--lora", path + "=-1")
        self.assertEqual((found["sequences"], found["adapters"]), (3, 2))
        self.assertGreater(found["tokens_per_second"]["median"], 0)
        self.fails("LLMGPU_E_IO", *call, "--lora", path, "--lora", path + ".none")
        self.assertIn("--sequences", self.usage("bench", "-m", MODEL, "--lora", path))
        self.assertIn("more than 64 times", self.usage(*call, *(("--lora", path) * 65)))

    def test_name_with_a_mark(self):
        path = self.adapter("a=b.gguf")
        self.assertEqual(self.nll("--lora", path), self.nll("--lora", path + "=1.0"))

    def test_refused(self):
        call = ("run", "-m", MODEL, "-p", "x", "--device", "cpu", "--lora")
        self.assertIn("none.gguf'", self.fails("LLMGPU_E_IO", *call, os.path.join(self.folder.name, "none.gguf=0.5")))
        self.assertIn("'model'", self.fails("LLMGPU_E_UNSUPPORTED", *call, MODEL))
        self.assertIn("-100 .. 100", self.fails("LLMGPU_E_INVALID", *call, self.adapter() + "=1000"))


if __name__ == "__main__":
    unittest.main()
