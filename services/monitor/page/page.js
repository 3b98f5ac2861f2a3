// The page of a conversation.

import { talk } from "./talk.js";

window.voice = talk(document.querySelector("#talk"));
