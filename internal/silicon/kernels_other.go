//go:build !amd64

package silicon

// Only amd64 has assembly; no other platform ever selects these.
var bestKernels = portable

func matVecAVX512(_, _, _ *float32, _, _ int)                         { panic("unreachable") }
func matVecAVX2(_, _, _ *float32, _, _ int)                           { panic("unreachable") }
func wsumAVX512(_, _, _ *float32, _, _ int)                           { panic("unreachable") }
func wsumAVX2(_, _, _ *float32, _, _ int)                             { panic("unreachable") }
func expSumAVX512(_, _ *float32, _ int, _ float32, _ *[lanes]float32) { panic("unreachable") }
func expSumAVX2(_, _ *float32, _ int, _ float32, _ *[lanes]float32)   { panic("unreachable") }
func siluAVX512(_, _ *float32, _ int)                                 { panic("unreachable") }
func siluAVX2(_, _ *float32, _ int)                                   { panic("unreachable") }
func maxAVX512(_ *float32, _ int) float32                             { panic("unreachable") }
func maxAVX2(_ *float32, _ int) float32                               { panic("unreachable") }
