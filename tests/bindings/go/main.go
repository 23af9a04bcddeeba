// SPDX-License-Identifier: MIT

// The Go package: smoke MODEL loads it, streams an answer, cancels one and reads errors.
package main

import (
	"errors"
	"fmt"
	"math"
	"os"
	"reflect"
	"strings"
	"time"

	"llmgpu"
)

const prompt = "<|im_start|>user\nWho are you?<|im_end|>\n<|im_start|>assistant\n"

// must ends the program where something is not as it should be.
func must(condition bool, what string, values ...any) {
	if !condition {
		fmt.Fprintln(os.Stderr, "FAILED:", what, values)
		os.Exit(1)
	}
}

func ok(err error) {
	must(err == nil, "no error", err)
}

// fails checks the code of an error and that its sentence names something.
func fails(err error, code int, names string) {
	var failure *llmgpu.Error
	must(errors.As(err, &failure), "an Error", err)
	must(failure.Code == code && strings.Contains(failure.Sentence, names), "the error", err)
}

func open(path string) (ctx llmgpu.Context, model llmgpu.Model) {
	params := llmgpu.NewContext_params()
	defer llmgpu.DeleteContext_params(params)
	ok(llmgpu.Context_params_init(params))
	params.SetDevice("cpu")
	ok(llmgpu.Context_create(&ctx, params))
	ok(llmgpu.Model_load(&model, ctx, path, nil))
	return ctx, model
}

func begin(model llmgpu.Model, ignoreEnd uint) (session llmgpu.Session) {
	params := llmgpu.NewSession_params()
	defer llmgpu.DeleteSession_params(params)
	ok(llmgpu.Session_params_init(params))
	params.SetIgnore_end(ignoreEnd)
	ok(llmgpu.Session_create(&session, model, params))
	return session
}

// pull calls take for what next gives until the answer is over.
func pull(session llmgpu.Session, next func() int, take func()) {
	for {
		switch answer := next(); answer {
		case llmgpu.TOKEN:
			take()
		case llmgpu.AGAIN:
			ok(llmgpu.Session_wait(session, math.MaxUint64))
		default:
			ok(llmgpu.Failure(answer, llmgpu.Session_error(session)))
			return
		}
	}
}

func streams(model llmgpu.Model) {
	session := begin(model, 0)
	defer llmgpu.Session_free(session)
	ok(llmgpu.Session_feed_text(session, prompt, uint(llmgpu.TOKENIZE_PARSE_SPECIAL)))
	var piece, whole, text string
	var pieces int
	pull(session, func() int { return llmgpu.Session_next_text(session, &piece) }, func() {
		pieces++
		whole += piece
	})
	must(pieces > 3, "pieces", pieces)

	var ids []int32
	ok(llmgpu.Tokenize(model, prompt, uint(llmgpu.TOKENIZE_PARSE_SPECIAL), &ids))
	ok(llmgpu.Session_reset(session))
	ok(llmgpu.Session_feed(session, ids))
	var decoder llmgpu.Decoder
	ok(llmgpu.Decoder_create(&decoder, model, 0))
	defer llmgpu.Decoder_free(decoder)
	var token int32
	pull(session, func() int { return llmgpu.Session_next(session, &token) }, func() {
		if llmgpu.Model_is_end(model, token) == 0 {
			ok(llmgpu.Decoder_push(decoder, token, &piece))
			text += piece
		}
	})
	ok(llmgpu.Decoder_finish(decoder, &piece))
	must(text+piece == whole, "the same text", text, whole)

	var history []int32
	ok(llmgpu.Session_get_tokens(session, &history))
	must(reflect.DeepEqual(history[:len(ids)], ids), "the history", history)
	fmt.Println(whole)
}

func cancels(model llmgpu.Model) {
	session := begin(model, 1)
	defer llmgpu.Session_free(session)
	go func() {
		time.Sleep(50 * time.Millisecond)
		llmgpu.Session_cancel(session)
	}()
	var err error
	for i := 0; i < 1000 && err == nil; i++ {
		if err = llmgpu.Session_reset(session); err == nil {
			err = llmgpu.Session_feed_text(session, prompt, uint(llmgpu.TOKENIZE_PARSE_SPECIAL))
		}
		var token int32
		for n := 0; err == nil && n < 200; {
			answer := llmgpu.Session_next(session, &token)
			if answer == llmgpu.AGAIN {
				err = llmgpu.Session_wait(session, math.MaxUint64)
			} else {
				err = llmgpu.Failure(answer, llmgpu.Session_error(session))
				n++
			}
		}
	}
	fails(err, llmgpu.E_CANCELLED, "")
}

func errs(ctx llmgpu.Context, model llmgpu.Model) {
	var none llmgpu.Model
	err := llmgpu.Model_load(&none, ctx, "/nowhere/model.gguf", nil)
	fails(err, llmgpu.E_IO, "/nowhere/model.gguf")
	must(none == nil, "no model")
	must(strings.HasPrefix(err.Error(), "LLMGPU_E_IO: "), "the text", err)
	var file llmgpu.File
	fails(llmgpu.File_open(&file, "/nowhere/model.gguf"), llmgpu.E_IO, "/nowhere/model.gguf")
	params := llmgpu.NewContext_params()
	defer llmgpu.DeleteContext_params(params)
	ok(llmgpu.Context_params_init(params))
	params.SetDevice("abacus")
	var other llmgpu.Context
	fails(llmgpu.Context_create(&other, params), llmgpu.E_NO_DEVICE, "abacus")
	var text string
	fails(llmgpu.Detokenize(model, []int32{1 << 30}, 0, &text), llmgpu.E_INVALID, "")
}

func facts(path string, model llmgpu.Model) {
	info := llmgpu.NewModel_info()
	defer llmgpu.DeleteModel_info(info)
	ok(llmgpu.Model_get_info(model, info))
	must(info.GetArchitecture() == "llama" && info.GetN_embd() == 256, "the model", info.GetArchitecture())
	const words = "A blade for the road, 刀, and a NUL: \x00."
	var ids []int32
	var text string
	ok(llmgpu.Tokenize(model, words, 0, &ids))
	ok(llmgpu.Detokenize(model, ids, 0, &text))
	must(text == words, "the text", text)
	var file llmgpu.File
	ok(llmgpu.File_open(&file, path))
	defer llmgpu.File_close(file)
	entry := llmgpu.NewFile_metadata()
	defer llmgpu.DeleteFile_metadata(entry)
	ok(llmgpu.File_get_metadata(file, 0, entry))
	must(entry.GetKey() == "general.architecture", "the key", entry.GetKey())
}

func states(model llmgpu.Model) {
	session, other := begin(model, 0), begin(model, 0)
	defer llmgpu.Session_free(session)
	defer llmgpu.Session_free(other)
	var chat llmgpu.Chat
	ok(llmgpu.Chat_create(&chat, model, ""))
	defer llmgpu.Chat_free(chat)
	ok(llmgpu.Chat_add(chat, "user", "Who are you?"))
	var text string
	ok(llmgpu.Chat_render(chat, uint(llmgpu.CHAT_ANSWER|llmgpu.CHAT_FALLBACK), &text))
	must(text == prompt, "the prompt", text)
	ok(llmgpu.Chat_feed(chat, session, uint(llmgpu.CHAT_ANSWER|llmgpu.CHAT_FALLBACK)))
	var state []byte
	ok(llmgpu.Session_save(session, llmgpu.STATE_COMPACT, nil, &state))
	ok(llmgpu.Session_restore(other, state))
	var ours, theirs []int32
	ok(llmgpu.Session_get_tokens(session, &ours))
	ok(llmgpu.Session_get_tokens(other, &theirs))
	must(len(ours) > 10 && reflect.DeepEqual(ours, theirs), "the tokens", ours, theirs)
	fails(llmgpu.Session_restore(other, state[:len(state)-1]), llmgpu.E_FORMAT, "")
}

// trains learns a sentence beside nothing else, and merges what was learned into another file.
func trains(path string, ctx llmgpu.Context, model llmgpu.Model) {
	folder, err := os.MkdirTemp("", "llmgpu")
	ok(err)
	defer os.RemoveAll(folder)
	lines, adapter, merged := folder+"/lines.jsonl", folder+"/adapter.gguf", folder+"/merged.gguf"
	ok(os.WriteFile(lines, []byte(strings.Repeat("{\"text\": \"The moon hums.\"}\n", 4)), 0o600))
	how := llmgpu.NewDataset_params()
	defer llmgpu.DeleteDataset_params(how)
	ok(llmgpu.Dataset_params_init(how))
	how.SetN_ctx(16)
	var data llmgpu.Dataset
	ok(llmgpu.Dataset_open(&data, model, []string{lines}, how))
	defer llmgpu.Dataset_free(data)
	batch := llmgpu.NewBatch()
	defer llmgpu.DeleteBatch(batch)
	must(llmgpu.Dataset_next(data, batch) == 1 && batch.GetN_rows() > 0, "a batch")
	params := llmgpu.NewTrainer_params()
	defer llmgpu.DeleteTrainer_params(params)
	ok(llmgpu.Trainer_params_init(params))
	params.SetMax_rows(16)
	params.SetRank(2)
	params.SetLr(1e-2)
	var trainer llmgpu.Trainer
	ok(llmgpu.Trainer_create(&trainer, model, params))
	defer llmgpu.Trainer_free(trainer)
	var before, after float64
	ok(llmgpu.Trainer_evaluate(trainer, batch, &before))
	result := llmgpu.NewTrain_result()
	defer llmgpu.DeleteTrain_result(result)
	for step := uint64(0); step < 3; step++ {
		ok(llmgpu.Trainer_add(trainer, batch))
		ok(llmgpu.Trainer_step(trainer, result))
		must(result.GetStep() == step, "the step", result.GetStep())
	}
	ok(llmgpu.Trainer_add(trainer, batch))
	ok(llmgpu.Trainer_start(trainer, 10))
	fails(llmgpu.Trainer_step(trainer, result), llmgpu.E_INVALID, "started")
	for llmgpu.Trainer_poll(trainer, result) == 0 {
		llmgpu.Context_step(ctx, 2000)
	}
	must(result.GetStep() == 3, "the step", result.GetStep())
	ok(llmgpu.Trainer_evaluate(trainer, batch, &after))
	must(after < before, "it learns", before, after)
	ok(llmgpu.Trainer_save_checkpoint(trainer, adapter, []byte("place")))
	var extra []byte
	ok(llmgpu.Trainer_load_checkpoint(trainer, adapter, &extra))
	must(string(extra) == "place", "the place", extra)
	ok(llmgpu.Trainer_save(trainer, adapter, int32(llmgpu.SAVE_GGUF)))
	with := llmgpu.NewMerge_adapter()
	defer llmgpu.DeleteMerge_adapter(with)
	with.SetPath(adapter)
	with.SetScale(1)
	ok(llmgpu.Merge(path, with, 1, merged, "F16", nil))
	var other llmgpu.Model
	ok(llmgpu.Model_load(&other, ctx, merged, nil))
	llmgpu.Model_free(other)
	fails(llmgpu.Quantize(path, merged, "Q4_99", nil), llmgpu.E_INVALID, "Q4_99")
	fails(llmgpu.Dataset_open(&data, model, []string{"/nowhere"}, nil), llmgpu.E_IO, "nowhere")
}

func main() {
	ctx, model := open(os.Args[1])
	defer llmgpu.Context_free(ctx)
	defer llmgpu.Model_free(model)
	streams(model)
	cancels(model)
	errs(ctx, model)
	facts(os.Args[1], model)
	states(model)
	trains(os.Args[1], ctx, model)
}
