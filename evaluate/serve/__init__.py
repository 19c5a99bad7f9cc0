"""A server that speaks and transcribes with the recipe's models, in OpenAI's protocol."""
