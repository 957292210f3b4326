// SPDX-License-Identifier: Apache-2.0

// Package model holds the model that ships with the emulated card: a Llama of
// about a third of a million parameters that tells tales and answers a few
// simple questions. scripts/train makes it; docs/model.md says what it is,
// what it was trained on and how well it does.
package model

import _ "embed"

//go:embed default.gguf
var defaultGGUF []byte

// Default returns the default model as the bytes of a GGUF 3 file. Every call
// returns the same memory, so callers must not write to it.
func Default() []byte { return defaultGGUF }
