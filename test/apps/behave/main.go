// Command behave is the application of the behavioural suite.
package main

import (
	"log"

	"aerie/app"
	"aerie/test/behave"
)

func main() {
	if err := app.Run(behave.New(app.PathBase)); err != nil {
		log.Fatal(err)
	}
}
