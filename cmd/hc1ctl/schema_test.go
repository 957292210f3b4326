package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/hc1-toolkit/hc1/internal/bench"
)

var update = flag.Bool("update", false, "write docs/schema and testdata")

const schemaDir = "../../docs/schema"

// published are the objects that -o json prints, by their schema's name.
var published = map[string]any{
	"hc1.error/1": errorObject{}, "hc1.error.list/1": errorList{}, "hc1.error.explain/1": errorOne{}, "hc1.version/1": versions{},
	"hc1.run/1": runObject{}, "hc1.device.list/1": deviceList{}, "hc1.device.show/1": deviceShow{}, "hc1.reg.dump/1": regDump{},
	"hc1.model.show/1": modelView{}, "hc1.tokenize/1": tokenizeView{}, "hc1.detokenize/1": detokenizeView{}, "hc1.trace.show/1": traceView{},
	"hc1.trace.diff/1": traceDiff{}, "hc1.log.telemetry/1": telemetryView{}, "hc1.log.firmware/1": firmwareView{}, "hc1.log.selftest/1": selfTestView{},
	"hc1.log.error/1": errorLogView{}, "hc1.log.events/1": eventLogView{}, "hc1.log.sessions/1": sessionLogView{}, "hc1.bench/1": bench.Report{},
	"hc1.demo/1": demoView{}, "hc1.bench.faces/1": bench.FacesReport{}, "hc1.bind/1": bindView{}, "hc1.doctor/1": doctorView{},
}

// schemaOf is the JSON Schema of a Go type as encoding/json prints it.
func schemaOf(t reflect.Type) map[string]any {
	switch t.Kind() {
	case reflect.Pointer:
		s := schemaOf(t.Elem())
		s["type"] = []any{s["type"], "null"}
		return s
	case reflect.Struct:
		props, required := map[string]any{}, []any{}
		for i := range t.NumField() {
			f := t.Field(i)
			tag := f.Tag.Get("json")
			if tag == "" || !f.IsExported() {
				continue
			}
			name, opts, _ := strings.Cut(tag, ",")
			props[name] = schemaOf(f.Type)
			if opts != "omitempty" {
				required = append(required, name)
			}
		}
		return map[string]any{"type": "object", "properties": props, "required": required}
	case reflect.Slice:
		return map[string]any{"type": []any{"array", "null"}, "items": schemaOf(t.Elem())}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": schemaOf(t.Elem())}
	case reflect.String:
		return map[string]any{"type": "string"}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Float32, reflect.Float64:
		return map[string]any{"type": "number"}
	}
	return map[string]any{"type": "integer"}
}

func fileOf(name string) string {
	return filepath.Join(schemaDir, strings.ReplaceAll(strings.TrimPrefix(name, "hc1."), "/", "-v")+".json")
}

// The published schemas are those of the objects that are printed.
func TestSchemasArePublished(t *testing.T) {
	for name, v := range published {
		s := schemaOf(reflect.TypeOf(v))
		s["$schema"], s["title"] = "https://json-schema.org/draft/2020-12/schema", name
		if p, ok := s["properties"].(map[string]any)["schema"]; ok {
			p.(map[string]any)["const"] = name
		}
		b, err := json.MarshalIndent(s, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		b = append(b, '\n')
		if *update {
			if err := os.MkdirAll(schemaDir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(fileOf(name), b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if have, err := os.ReadFile(fileOf(name)); err != nil || !bytes.Equal(have, b) {
			t.Errorf("%s is not the schema of what is printed (%v): a change of an object needs a new version; then run with -update", fileOf(name), err)
		}
	}
}

// What is printed is valid by the published schema it names.
func TestOutputsAreValid(t *testing.T) {
	trace := filepath.Join(t.TempDir(), "t")
	if _, errs, code := ctl(t, "", "run", "--card", "mock:?clock=virtual&trace="+trace, "--max-tokens", "2", "x"); code != 0 {
		t.Fatal(errs)
	}
	compiler := jsonschema.NewCompiler()
	for _, args := range [][]string{
		{"version"}, {"error", "list"}, {"error", "explain", "TIMEOUT"}, {"device", "list", "--card", "mock:?cards=2"}, {"device", "show", "--card", "mock:"},
		{"run", "--card", "mock:?clock=fast", "--max-tokens", "4", "--logprobs", "hi"}, {"run", "--card", "mock:?clock=fast", "--greedy", "--max-tokens", "4", "hi"},
		{"reg", "dump", "--card", "mock:"}, {"model", "show"}, {"tokenize"}, {"detokenize"}, {"trace", "show", trace}, {"trace", "show", trace, "--diff", trace},
		{"log", "show", "telemetry", "--card", "mock:"}, {"log", "show", "firmware", "--card", "mock:"}, {"log", "show", "selftest", "--card", "mock:"},
		{"log", "show", "error", "--card", "mock:"}, {"log", "show", "events", "--card", "mock:"}, {"log", "show", "sessions", "--card", "mock:"},
		{"run", "hi"}, {"fly"}, {"doctor"}, {"bind", "ffff:01:00.0"},
	} {
		out, errs, _ := ctl(t, "1 2", append(args, "-o", "json")...)
		v, err := jsonschema.UnmarshalJSON(strings.NewReader(out))
		if err != nil {
			t.Errorf("%v: %v: %s%s", args, err, out, errs)
			continue
		}
		name, _ := v.(map[string]any)["schema"].(string)
		s, err := compiler.Compile(fileOf(name))
		if err != nil {
			t.Errorf("%v: schema %q: %v", args, name, err)
			continue
		}
		if err := s.Validate(v); err != nil {
			t.Errorf("%v: %v", args, err)
		}
	}
}
