// Says that the login is under way: it can take some seconds while a site is being switched.
"use strict";
document.querySelector(".login-form").addEventListener("submit", () => {
  const button = document.getElementById("login-button");
  button.disabled = true;
  button.textContent = "Logging in…";
});

// Nothing of the person before is left for the next.
sessionStorage.clear();
