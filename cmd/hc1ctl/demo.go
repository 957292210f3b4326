package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/hc1-toolkit/hc1/driver"
	"github.com/hc1-toolkit/hc1/internal/bench"
	"github.com/hc1-toolkit/hc1/internal/output"
)

// What the seed article says of the chip.
const (
	claimedRate     = 17000.0
	claimedWatts    = 200.0
	claimedResponse = 30 * time.Millisecond
)

// demoSeed makes the answer the same every time.
const demoSeed = 8

func (a *app) demoCommand() *cobra.Command {
	price := 0.15
	c := &cobra.Command{
		Use:   "demo",
		Short: "Stream an answer in real time and say what it cost",
		Long: `Streams an answer from the emulated card at the pace of the chip, then prints
what it cost beside what is claimed for the chip. Each figure says whether it
was measured, modelled or claimed. Tokens per dollar count electricity only.`,
		Example: "  hc1ctl demo\n  hc1ctl demo --price-kwh 0.30",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if !(price > 0) {
				return usagef("--price-kwh %v: use more than 0", price)
			}
			if a.card == "" {
				a.card = "mock:"
			}
			const ask = "Tell me a story about a fox and a river."
			ctx := cmd.Context()
			c, err := a.speak(ctx)
			if err != nil {
				return err
			}
			defer c.close(&err)
			s, err := c.OpenSession(ctx, driver.SessionConfig{})
			if err != nil {
				return err
			}
			f := runFlags{}
			ids, err := f.encode(c.via.Vocab, ask)
			if err != nil {
				return err
			}
			text := a.out
			if a.format == string(output.JSON) {
				text = a.err // standard output holds one object
			}
			fmt.Fprintf(text, "> %s\n\n", ask)
			p := driver.Params{Temperature: 0.7, Seed: demoSeed}
			ans, err := c.generate(ctx, s, ids, p, nil, func(t string) error {
				_, err := io.WriteString(text, t)
				return err
			})
			if err != nil {
				return err
			}
			fmt.Fprint(text, "\n\n")
			v, err := cost(c, s, ids, p, ans, cmd, price)
			if err != nil {
				return err
			}
			return a.printer().Print(v)
		},
	}
	c.Flags().Float64Var(&price, "price-kwh", price, "price of electricity, dollars per kWh")
	return c
}

type demoView struct {
	Schema           string  `json:"schema"`
	Tokens           int     `json:"tokens"`
	ResponseMS       float64 `json:"response_ms"`
	TokensPerSecond  float64 `json:"tokens_per_second"`
	HostUSPerRequest float64 `json:"host_us_per_request"`
	HostNSPerToken   float64 `json:"host_ns_per_token"`
	JoulesPerMillion float64 `json:"joules_per_million_tokens"`
	TokensPerJoule   float64 `json:"tokens_per_joule"`
	TokensPerDollar  float64 `json:"tokens_per_dollar"`
	Late             uint32  `json:"late_tokens"`
	Silicon          string  `json:"silicon"`
	Model            string  `json:"model"`
	PriceKWh         float64 `json:"price_dollars_per_kwh"`
}

// cost measures the same request again, without a terminal in the way.
func cost(c *attached, s *driver.Session, ids []uint32, p driver.Params, ans answer, cmd *cobra.Command, price float64) (v demoView, err error) {
	m, err := bench.Requests(cmd.Context(), c.Card, s, ids, p, 20)
	if err != nil {
		return v, err
	}
	v = demoView{Schema: "hc1.demo/1", Tokens: ans.result.Tokens, Late: m.Late, Silicon: siliconName(c), Model: modelName(c), PriceKWh: price,
		ResponseMS: m.Response / 1000, TokensPerSecond: m.PerSecond, HostUSPerRequest: m.RequestP50, HostNSPerToken: m.TokenP50,
		JoulesPerMillion: m.JoulesPerMillion}
	v.TokensPerJoule = 1e6 / v.JoulesPerMillion
	v.TokensPerDollar = v.TokensPerJoule * 3.6e6 / price
	return v, s.Close()
}

func (v demoView) Table(t *output.Rows) {
	claimedJ := claimedWatts / claimedRate * 1e6
	t.Row("FIGURE", "HERE", "HOW", "CLAIMED FOR THE CHIP")
	t.Row("tokens/s, one user", fmt.Sprintf("%.0f", v.TokensPerSecond), "measured", fmt.Sprintf("%.0f", claimedRate))
	t.Row("a whole response", fmt.Sprintf("%.1f ms, %d tokens", v.ResponseMS, v.Tokens), "measured", fmt.Sprintf("%.0f ms", float64(claimedResponse.Milliseconds())))
	t.Row("host time per request", fmt.Sprintf("%.0f µs", v.HostUSPerRequest), "measured", "-")
	t.Row("host time per token", fmt.Sprintf("%.0f ns", v.HostNSPerToken), "measured", "-")
	t.Row("joules per million tokens", fmt.Sprintf("%.0f", v.JoulesPerMillion), "modelled", fmt.Sprintf("%.0f (at %.0f W)", claimedJ, claimedWatts))
	t.Row("tokens/s per watt", fmt.Sprintf("%.1f", v.TokensPerJoule), "modelled", fmt.Sprintf("%.1f", 1e6/claimedJ))
	t.Row("million tokens per dollar", fmt.Sprintf("%.0f", v.TokensPerDollar/1e6), "modelled", fmt.Sprintf("%.0f", 3.6e12/claimedJ/v.PriceKWh/1e6))
	t.Line("")
	t.Text(fmt.Sprintf("The tokens are real: %s silicon computed %s on this machine's processor, behind an emulated card paced to the chip's 58.96 µs a token (%d late). "+
		"Modelled figures follow the card's power model. Dollars are electricity at %.2f a kWh: neither card nor server is in them.",
		v.Silicon, v.Model, v.Late, v.PriceKWh))
}
