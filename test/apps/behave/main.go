// Command behave is the application of the behavioural suite. With BEHAVE_STOP=hang
// it never stops by itself.
package main

import (
	"context"
	"log"
	"os"

	"aerie/app"
	"aerie/test/behave"
)

func main() {
	o := app.Options{Handler: behave.New(app.PathBase)}
	if os.Getenv("BEHAVE_STOP") == "hang" {
		o.Stop = func(context.Context) error { select {} }
	}
	if err := o.Run(); err != nil {
		log.Fatal(err)
	}
}
