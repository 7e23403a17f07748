"""What a page in the browser needs around it: who may ask for what, who still waits, and where its files lie."""
