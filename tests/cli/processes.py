# SPDX-License-Identifier: MIT
"""llmgpu train in several processes: they learn what one learns, leave what one leaves, and end together.

LLMGPU_MPIRUN is what starts them, "" where the command was built without MPI.
"""
import os
import signal
import subprocess
import time
import unittest

from command import MODEL, PROGRAM
from train import TrainTest

MPIRUN = os.environ["LLMGPU_MPIRUN"]
# As root, with more processes than processors, without ssh: all for Open MPI, whose other versions read other names.
LAUNCH = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "OMPI_MCA_plm_rsh_agent": "",
    "OMPI_MCA_plm": "isolated",
    "OMPI_MCA_btl": "self,vader",
    "OMPI_MCA_btl_vader_single_copy_mechanism": "none",
    "PRTE_ALLOW_RUN_AS_ROOT": "1",
    "PRTE_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0",  # MPI's own
}


class ProcessesTest(TrainTest):
    def names(self, name, n_samples=12):
        return ("--data", self.samples(n=n_samples), "-o", self.path(name + ".gguf"), "--metrics", self.path(name + ".jsonl"))

    def launch(self, *groups):
        """Processes that mpirun starts: (how many, arguments)..."""
        words = [MPIRUN]
        for n, args in groups:
            words += [":"] * (len(words) > 1) + ["-n", str(n), PROGRAM, *map(str, args)]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, **LAUNCH})
        self.addCleanup(process.kill)
        return process

    def last_child(self, process):
        """What mpirun has started last."""
        found = 0
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{name}/stat", encoding="utf-8") as file:
                    parent = int(file.read().rpartition(")")[2].split()[1])
            except OSError:
                continue
            found = max(found, int(name)) if parent == process.pid else found
        self.assertTrue(found)
        return found

    def together(self, *groups):
        process = self.launch(*groups)
        out, err = process.communicate(timeout=100)
        return process.returncode, out.decode(), err.decode()


@unittest.skipIf(MPIRUN, "built with MPI")
class Without(ProcessesTest):
    def test_says_so(self):
        for name in ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"):
            done = self.llmgpu(*self.command(*self.names("a"), "--steps", "1"), env={name: "2"})
            self.assertEqual(done.status, 1)
            self.assertIn("built without MPI (LLMGPU_E_UNSUPPORTED)", done.err)
            self.assertFalse(os.path.exists(self.path("a.gguf")))
        self.good(*self.command(*self.names("a"), "--steps", "1"), env={"OMPI_COMM_WORLD_SIZE": "1"})


@unittest.skipUnless(MPIRUN, "built without MPI")
class Together(ProcessesTest):
    def check_same(self, rows, expected):
        """Another order of sums is all that differs; what is only counted does not differ at all."""
        self.assertEqual([(row["step"], row["lr"]) for row in rows], [(row["step"], row["lr"]) for row in expected])
        for row, other in zip(rows, expected):
            self.assertEqual(row.keys(), other.keys())
            for key in ("loss", "grad_norm", "val_loss"):
                if key in row:
                    self.assertLess(abs(row[key] / other[key] - 1), 1e-5, (key, row, other))
        # Before the first step all have the same parameters: sums of the same losses, rounded to floats.
        self.assertLess(abs(rows[0]["loss"] / expected[0]["loss"] - 1), 2e-7)

    def check_run(self, *args, model=MODEL, counts=(2, 4)):
        args = ("-m", model, "--steps", "4", "--accumulate", "5", "-c", "40", "--val", self.samples("val.jsonl", 5),
                "--eval-every", "2", *args)
        self.good(*self.command(*self.names("alone"), *args))
        expected = self.rows("alone.jsonl")
        self.assertLess(expected[-1]["loss"], 0.95 * expected[0]["loss"])
        for n in counts:
            name = f"by{n}"
            status, out, err = self.together((n, self.command(*self.names(name), *args, "--json")))
            self.assertEqual(status, 0, err)
            self.assertEqual((out.count('"steps":4'), out.count("\n")), (1, 1), out)
            self.assertEqual(err.count("steps 1 to 4"), 1, err)
            self.assertIn(f"{n} processes, {n} on this machine; 5 micro-batches in each step", err)
            self.check_same(self.rows(name + ".jsonl"), expected)
            self.assertEqual({p for p in os.listdir(self.folder.name) if p.startswith(name)},
                             {name + end for end in (".gguf", ".best.gguf", ".jsonl", ".svg", ".ckpt")})

    def test_an_adapter(self):
        self.check_run("--dropout", "0.2")

    def test_a_whole_model(self):
        whole = self.path("whole.gguf")
        self.good("quantize", MODEL, whole, "F32")
        self.check_run("--full", "--lr", "0.002", model=whole)

    def test_each_has_one_by_default(self):
        self.good(*self.command(*self.names("alone"), "--steps", "2", "--accumulate", "3"))
        status, _, err = self.together((3, self.command(*self.names("a"), "--steps", "2")))
        self.assertEqual(status, 0, err)
        self.check_same(self.rows("a.jsonl"), self.rows("alone.jsonl"))
        status, _, err = self.together((3, self.command(*self.names("b"), "--steps", "2", "--accumulate", "2")))
        self.assertNotEqual(status, 0)
        self.assertEqual(err.count("--accumulate 2 is less than one for each of 3 processes"), 1, err)

    def test_is_interrupted_and_goes_on(self):
        args = ("--accumulate", "4", "--schedule", "constant")
        process = self.launch((2, self.command(*self.names("a"), *args, "--steps", "5000")))
        end = time.monotonic() + 120
        while not (os.path.exists(self.path("a.jsonl")) and self.bytes("a.jsonl")) and time.monotonic() < end:
            time.sleep(0.01)
        os.kill(self.last_child(process), signal.SIGTERM)  # mpirun would send it to all, and has little patience
        err = process.communicate(timeout=100)[1].decode()
        self.assertEqual(process.returncode, 130, err)
        self.assertIn("--resume goes on", err)
        self.assertFalse(os.path.exists(self.path("a.gguf")))
        done = len(self.rows("a.jsonl"))
        self.assertGreater(done, 0)
        steps = ("--steps", str(done + 2))
        status, _, err = self.together((4, self.command(*self.names("a"), *args, *steps, "--resume")))
        self.assertEqual(status, 0, err)
        self.good(*self.command(*self.names("alone"), *args, *steps))
        self.check_same(self.rows("a.jsonl"), self.rows("alone.jsonl"))

    def test_end_together(self):
        good = self.command(*self.names("a"), "--steps", "5000")
        for other, sentence in (
            (("-m", self.path("none")), "none"),
            (("--seed", "1"), "the processes differ in their model, data, options or checkpoint (LLMGPU_E_INVALID)"),
            (("--rank", "5"), "the processes differ"),
            (("--metrics", "/dev/full"), "/dev/full: No space left on device (LLMGPU_E_IO)"),
        ):
            bad = (1, (*good, *other))
            # What process 0 alone does fails in the middle of the run, with the others at work.
            status, out, err = self.together(*([bad, (1, good)] if "--metrics" in other else [(1, good), bad]))
            self.assertEqual((status, out), (1, ""), err)
            self.assertEqual(err.count(sentence), 1, err)
            self.assertRegex(err, r"llmgpu: process [01] of 2, on [^ ]+: ")
            self.assertFalse(os.path.exists(self.path("a.gguf")))


if __name__ == "__main__":
    unittest.main()
