// SPDX-License-Identifier: MIT

// Package llmgpu is the C API, function by function; see the C headers.
package llmgpu

import (
	"strconv"
	"strings"
	"unsafe"
)

// Error is a call that failed.
type Error struct {
	Code     int    // one of the E_ constants
	Sentence string // what failed, and where
}

func (e *Error) Error() string {
	return Status_name(e.Code) + ": " + e.Sentence
}

// Failure is the error of a status that was given as an int, with the sentence of its handle; nil when it is none.
func Failure(status int, sentence string) error {
	if status >= 0 {
		return nil
	}
	return &Error{status, sentence}
}

// failed reads a status as the C side writes it: "" or "code sentence".
func failed(status string) error {
	if status == "" {
		return nil
	}
	code, sentence, _ := strings.Cut(status, " ")
	number, _ := strconv.Atoi(code)
	return &Error{number, sentence}
}

// taken copies what the C side has allocated, and frees that.
func taken(text string) string {
	if text == "" {
		return ""
	}
	given := *(*struct {
		p uintptr
		n int
	})(unsafe.Pointer(&text))
	kept := strings.Clone(text)
	Swig_free(given.p)
	return kept
}

// joined puts a NUL behind each of the names, and cuts them at their own as C would.
func joined(names []string) string {
	var text strings.Builder
	for _, name := range names {
		name, _, _ = strings.Cut(name, "\x00")
		text.WriteString(name)
		text.WriteByte(0)
	}
	return text.String()
}

func takenIds(ids []int32) []int32 {
	if len(ids) == 0 {
		return nil
	}
	kept := append([]int32(nil), ids...)
	Swig_free(uintptr(unsafe.Pointer(&ids[0])))
	return kept
}

func takenBytes(bytes []byte) []byte {
	if len(bytes) == 0 {
		return nil
	}
	kept := append([]byte(nil), bytes...)
	Swig_free(uintptr(unsafe.Pointer(&bytes[0])))
	return kept
}
