package config

import "strings"

// nearest is the candidate that word was probably meant to be, or "". Case
// does not count, so that maxBody finds max_body.
func nearest(word string, candidates []string) string {
	best, least := "", 3
	for _, c := range candidates {
		if d := distance(strings.ToLower(word), strings.ToLower(c)); d < least && near(d, word, c) {
			best, least = c, d
		}
	}
	return best
}

// near says whether words d edits apart are likely to be one word mistyped: two
// edits at most, and fewer than half of the longer word.
func near(d int, a, b string) bool {
	return d <= 2 && 2*d < max(len(a), len(b))
}

// distance is the number of bytes to insert, delete or replace that turns a
// into b (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}

// didYouMean is the end of a message about an unknown word, "" when no
// candidate is like it.
func didYouMean(word string, candidates []string) string {
	if c := nearest(word, candidates); c != "" {
		return "; did you mean " + quote(c) + "?"
	}
	return ""
}
