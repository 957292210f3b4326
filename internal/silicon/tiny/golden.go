package tiny

// Golden is testdata/llamacpp.json of internal/silicon: what llama.cpp decoded greedily, recorded
// by scripts/goldens.
type Golden struct {
	Runs []GoldenRun `json:"runs"`
}

// GoldenRun is one prompt on one model.
type GoldenRun struct {
	Model  string       `json:"model"`
	Prompt []uint32     `json:"prompt"`
	Steps  []GoldenStep `json:"steps"`
}

// GoldenStep is one decoded token with the best two candidates; both ids are 0
// where llama.cpp did not tell.
type GoldenStep struct {
	Token    uint32     `json:"token"`
	IDs      [2]uint32  `json:"ids"`
	LogProbs [2]float32 `json:"logprobs"`
}
