// Package tap writes the Test Anything Protocol, as far as the programs of OCI runtime-tools ask for it.
//
// They import a library of this path, which Debian does not carry; the build downloads nothing.
package tap

import (
	"encoding/json"
	"fmt"
	"strings"
)

// T counts the test points that were written.
type T struct {
	count *int
	todo  bool
}

// New is a stream without test points.
func New() *T { return &T{count: new(int)} }

// Header begins the stream. The plan is written first where the count is known, and by AutoPlan where it is 0.
func (t *T) Header(count int) {
	fmt.Println("TAP version 13")
	if count > 0 {
		fmt.Printf("1..%d\n", count)
	}
}

// AutoPlan writes the plan that fits the test points so far.
func (t *T) AutoPlan() { fmt.Printf("1..%d\n", *t.count) }

// Todo is the same stream, with test points that may fail.
func (t *T) Todo() *T { return &T{count: t.count, todo: true} }

// Ok writes a test point.
func (t *T) Ok(good bool, description string) {
	*t.count++
	word, directive := "ok", ""
	if !good {
		word = "not ok"
	}
	if t.todo {
		directive = " # TODO"
	}
	fmt.Printf("%s %d - %s%s\n", word, *t.count, description, directive)
}

// Pass writes a test point that holds.
func (t *T) Pass(description string) { t.Ok(true, description) }

// Fail writes a test point that does not hold.
func (t *T) Fail(description string) { t.Ok(false, description) }

// Skip writes test points that could not be tried.
func (t *T) Skip(count int, reason string) {
	for ; count > 0; count-- {
		*t.count++
		fmt.Printf("ok %d # SKIP %s\n", *t.count, reason)
	}
}

// Diagnostic writes comments.
func (t *T) Diagnostic(message string) {
	for _, line := range strings.Split(strings.TrimSpace(message), "\n") {
		fmt.Printf("# %s\n", line)
	}
}

// Diagnosticf writes formatted comments.
func (t *T) Diagnosticf(format string, args ...interface{}) {
	t.Diagnostic(fmt.Sprintf(format, args...))
}

// YAML writes the details of the last test point: as JSON, which is YAML too.
func (t *T) YAML(details interface{}) error {
	text, err := json.MarshalIndent(details, "  ", "  ")
	if err != nil {
		return err
	}
	fmt.Printf("  ---\n  %s\n  ...\n", text)
	return nil
}
