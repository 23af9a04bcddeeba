# SPDX-License-Identifier: MIT
"""llmgpu quantize and llmgpu merge: files that are written, and what is told of them."""
import os
import signal
import subprocess
import tempfile
import time
import unittest

from command import MODEL, PROGRAM, CommandTest

MEMBERS = {"name", "shape", "from", "to", "merged", "rms", "rmse", "max_error", "bytes_before", "bytes_after"}


class Quantize(CommandTest):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.out = os.path.join(self.folder, "out.gguf")

    def left(self):
        return sorted(os.listdir(self.folder))

    def test_json(self):
        found = self.json("quantize", MODEL, self.out, "Q4_0")
        before = self.json("inspect", MODEL, "--tensors")
        after = self.json("inspect", self.out, "--tensors")
        self.assertEqual([t["name"] for t in found["tensors"]], [t["name"] for t in before["tensors"]])
        for tensor, old, new in zip(found["tensors"], before["tensors"], after["tensors"]):
            self.assertEqual(set(tensor), MEMBERS)
            self.assertEqual((tensor["from"], tensor["to"]), (old["type"], new["type"]))
            self.assertEqual((tensor["bytes_before"], tensor["bytes_after"]), (old["bytes"], new["bytes"]))
            self.assertEqual(tensor["shape"], new["shape"])
            self.assertFalse(tensor["merged"])
            self.assertEqual(tensor["rmse"] > 0, old["type"] != new["type"])
            self.assertLessEqual(tensor["rmse"], tensor["max_error"])
        self.assertEqual(found["bytes_before"], before["tensor_bytes"])
        self.assertEqual(found["bytes_after"], after["tensor_bytes"])
        self.assertEqual(found["quantized_again"], sum(t["rmse"] > 0 for t in found["tensors"]))
        self.assertEqual(after["metadata"].pop("general.file_type"), 2)
        self.assertEqual(after["metadata"].pop("general.quantization_version"), 2)
        kept = {k: v for k, v in before["metadata"].items() if k not in ("general.file_type", "general.quantization_version")}
        self.assertEqual(after["metadata"], kept)
        self.assertEqual(self.left(), ["out.gguf"])

    def test_text(self):
        result = self.llmgpu("quantize", MODEL, self.out, "q8_0", "-t", "1")
        self.assertEqual((result.status, result.err), (0, ""))
        lines = result.out.decode().splitlines()
        self.assertIn("as it was", lines[0])
        self.assertRegex(lines[-1], r"^.*out\.gguf: \d+ tensors, 0 of them with other weights; .* bits a weight; .* s$")
        result = self.llmgpu("quantize", MODEL, self.out, "F16")
        self.assertIn("were quantised already", result.err)
        self.assertRegex(result.out.decode(), r"Q8_0  -> F16 +RMSE ")

    def test_runs(self):
        self.good("quantize", MODEL, self.out, "Q4_K_M")
        answer = self.json("run", "-m", self.out, "--device", "cpu", "-n", 4, "-p", "Hello")
        self.assertGreater(len(answer["tokens"]), 0)

    def test_mistakes(self):
        self.usage("quantize", MODEL)
        self.usage("quantize", MODEL, self.out)
        self.usage("quantize", MODEL, self.out, "Q8_0", "x")
        self.assertIn("Q4_K_M", self.fails("LLMGPU_E_INVALID", "quantize", MODEL, self.out, "Q9_Z"))
        self.fails("LLMGPU_E_IO", "quantize", os.path.join(self.folder, "none.gguf"), self.out, "Q8_0")
        self.fails("LLMGPU_E_IO", "quantize", MODEL, os.path.join(self.folder, "none", "out.gguf"), "Q8_0")
        self.fails("LLMGPU_E_FORMAT", "quantize", __file__, self.out, "Q8_0")
        self.usage("merge", "-m", MODEL, "-o", self.out)
        self.usage("merge", "-m", MODEL, "--lora", "x.gguf")
        self.usage("merge", "--lora", "x.gguf", "-o", self.out)
        self.fails("LLMGPU_E_IO", "merge", "-m", MODEL, "--lora", os.path.join(self.folder, "x.gguf"), "-o", self.out)
        self.fails("LLMGPU_E_UNSUPPORTED", "merge", "-m", MODEL, "--lora", MODEL, "-o", self.out)
        self.assertEqual(self.left(), [])

    def test_interrupted(self):
        """Ctrl-C leaves nothing behind, wherever it comes; what it comes too late for is whole."""
        for delay in (0.0, 0.02, 0.1, 0.3):
            process = subprocess.Popen([PROGRAM, "quantize", MODEL, self.out, "Q3_K_M", "-t", "1"],
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(delay)
            process.send_signal(signal.SIGINT)
            status = process.wait(timeout=60)
            self.assertIn(status, (0, 130, -signal.SIGINT))
            self.assertEqual(self.left(), ["out.gguf"] if status == 0 else [])
            if status == 0:
                os.remove(self.out)


if __name__ == "__main__":
    unittest.main()
